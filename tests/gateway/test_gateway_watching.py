"""What an operator sees of a gateway: metrics, one line per tunnel, and the figures of the live view."""

from __future__ import annotations

import hmac
import json
import socket
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from tests.gateway.conftest import Rig, RunningGateway
from tests.gateway.test_gateway_changes import get
from tests.gateway.wire import eventually, http_connect, open_http, read_exactly, read_head, read_to_end, socks5_reply
from whago.gateway import connection
from whago.gateway.control import Refused
from whago.gateway.watch import WATCHED_S, Watch

Lines = list[structlog.typing.EventDict]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def scrape(gateway: RunningGateway) -> dict[str, float]:
    """Every sample, its labels behind its name."""
    status, text = get(gateway.gateway.status_port, "/metrics")
    assert status == 200
    return {
        sample.name + "".join(f" {label}={value}" for label, value in sample.labels.items()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_the_metrics_are_all_there_from_the_start(plain_rig: Rig) -> None:
    gateway = plain_rig.gateway(status_port=0)
    assert {name for name in scrape(gateway) if " " not in name} == {
        "whago_gateway_tunnels",
        "whago_gateway_handshakes",
        "whago_gateway_tunnels_opened_total",
        "whago_gateway_lease_waits_total",
        "whago_gateway_counter_slots",
        "whago_gateway_pipes",
        "whago_gateway_loop_lag_seconds",
        "whago_gateway_report_age_seconds",
    }
    assert {name for name in scrape(gateway) if name.startswith("whago_gateway_bytes")} == {
        f"whago_gateway_bytes_total direction={way}" for way in ("up", "down", "overhead")
    }


def test_the_metrics_count_tunnels_bytes_refusals_and_waits(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway(status_port=0)
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 1 << 30)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        client.sendall(b"x" * 5000)
        assert read_exactly(client, 5000) == b"x" * 5000
        with http_connect(gateway.port, chip, "wrong", rig.target()) as stranger:
            assert read_head(stranger).startswith("HTTP/1.1 407 ")
        with http_connect(gateway.port, chip, "token", "example.com:443") as astray:
            assert read_head(astray).startswith("HTTP/1.1 403 ")
        assert eventually(lambda: scrape(gateway)["whago_gateway_bytes_total direction=up"] == 5000)
        seen = scrape(gateway)
    assert seen["whago_gateway_tunnels"] == 1
    assert seen["whago_gateway_handshakes"] == 0
    assert seen["whago_gateway_tunnels_opened_total"] == 1
    assert seen["whago_gateway_counter_slots"] == 1
    assert seen["whago_gateway_bytes_total direction=down"] == 5000
    assert seen["whago_gateway_bytes_total direction=overhead"] == upstream.wires[0].exchange
    assert seen["whago_gateway_refusals_total reason=bad_credential"] == 1
    assert seen["whago_gateway_refusals_total reason=host_not_allowed"] == 1
    assert seen["whago_gateway_lease_waits_total"] >= 1, "the first tunnel waited for the first lease"
    assert eventually(lambda: scrape(gateway).get("whago_gateway_tunnel_ends_total reason=closed") == 1)


def test_the_loops_lag_and_the_reports_age_show_what_is_wrong(plain_rig: Rig) -> None:
    gateway = plain_rig.gateway(status_port=0)
    chip, _ = plain_rig.chip(plain_rig.upstream())
    open_http(gateway.port, chip, "token", plain_rig.target()).close()
    assert eventually(lambda: scrape(gateway)["whago_gateway_report_age_seconds"] < 60)
    gateway.control.down = True
    young = scrape(gateway)["whago_gateway_report_age_seconds"]
    assert eventually(lambda: scrape(gateway)["whago_gateway_report_age_seconds"] > young + 0.5)
    gateway.call(lambda: time.sleep(1.0))
    assert eventually(lambda: scrape(gateway)["whago_gateway_loop_lag_seconds"] > 0.5)
    assert eventually(lambda: scrape(gateway)["whago_gateway_loop_lag_seconds"] < 0.5), "and it fades"


@pytest.mark.parametrize("how", ["closed", "chip_refused", "quota_exhausted"])
def test_each_tunnels_end_is_one_line(rig: Rig, lines: Lines, how: str) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 7000)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        client.sendall(b"x" * 3000)
        assert read_exactly(client, 3000) == b"x" * 3000
        if how == "chip_refused":
            rig.bank.change_pass(UUID(chip), lambda old: Refused("chip_blocked", old.credential_hash))
        if how == "quota_exhausted":
            client.sendall(b"x" * 3000)
        if how == "closed":
            client.close()
        else:
            read_to_end(client)
    assert eventually(lambda: gateway.open_tunnels == 0)
    (line,) = [line for line in lines if line["event"] == "tunnel.end"]
    assert line["reason"] == how
    assert (line["chip"], line["host"], line["port"]) == (chip, "localhost", rig.origin.port)
    if how == "quota_exhausted":
        assert line["up"] + line["down"] + line["overhead"] == 7000
    else:
        assert (line["up"], line["down"], line["overhead"]) == (3000, 3000, upstream.wires[0].exchange)
    assert line["duration_s"] >= 0
    assert "token" not in str(line)


def top(gateway: RunningGateway) -> dict[str, object]:
    status, body = get(gateway.gateway.status_port, "/top")
    assert status == 200
    told: dict[str, object] = json.loads(body)
    return told


def test_the_live_view_tells_who_moves_how_much(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway(status_port=0)
    busy, user = rig.chip(upstream)
    quiet, _ = rig.chip(upstream, user)
    other, stranger = rig.chip(upstream)
    clients = {chip: open_http(gateway.port, chip, "token", rig.target()) for chip in (busy, quiet, other)}
    assert top(gateway)["chips"] == [], "nobody has looked before, so nothing was counted"

    def moves() -> bool:
        for chip, size in ((busy, 40_000), (quiet, 10), (other, 5_000)):
            clients[chip].sendall(b"x" * size)
            assert read_exactly(clients[chip], size) == b"x" * size
        told = top(gateway)
        return [chip["id"] for chip in told["chips"]] == [busy, other, quiet]  # type: ignore[attr-defined]

    assert eventually(moves)
    told = top(gateway)
    chips = {chip["id"]: chip for chip in told["chips"]}  # type: ignore[attr-defined]
    assert chips[busy]["tunnels"] == chips[other]["tunnels"] == 1
    assert (chips[busy]["user"], chips[other]["user"]) == (str(user), str(stranger))
    assert [one["id"] for one in told["users"]] == [str(user), str(stranger)]  # type: ignore[attr-defined]
    assert len(told["proxies"]) == 3  # type: ignore[arg-type]
    assert told["tunnels"] == told["opened"] == 3
    for client in clients.values():
        client.close()


def test_nothing_is_counted_once_nobody_looks() -> None:
    watch = Watch()
    assert not watch.is_on(100.0)
    watch.look(100.0)
    assert watch.is_on(100.0 + WATCHED_S / 2)
    assert not watch.is_on(100.0 + WATCHED_S)
    assert watch.look(100.0 + WATCHED_S) == {}


def test_every_credential_is_compared_the_same_way(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """In constant time, once, and 32 bytes with 32 bytes, whether the chip is known or not."""
    compared: list[tuple[int, int]] = []
    true_compare = hmac.compare_digest

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return true_compare(left, right)

    monkeypatch.setattr(connection.hmac, "compare_digest", compare)
    gateway = rig.gateway()
    chip, _ = rig.chip(rig.upstream())
    tries = ((chip, "token", 200), (chip, "wrong", 407), (str(uuid4()), "token", 407), (chip, "", 407))
    for name, token, status in tries:
        with http_connect(gateway.port, name, token, rig.target()) as client:
            assert read_head(client).startswith(f"HTTP/1.1 {status} ")
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        assert socks5_reply(client, chip, "wrong", rig.target()) == 0x100
    assert compared == [(32, 32)] * 5
