"""What changes in the control plane reaches the tunnels it concerns, and no others."""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from tests.gateway.conftest import Rig, RunningGateway
from tests.gateway.wire import eventually, http_connect, open_http, read_exactly, read_head, read_to_end
from whago.gateway.control import Change, ChipPass, Refused
from whago.gateway.tunnel import Tunnel


def says(client: socket.socket, word: bytes) -> bool:
    """Whether the echo comes back."""
    client.sendall(word)
    return read_exactly(client, len(word)) == word


@pytest.mark.parametrize(
    "change",
    [
        lambda chip: Refused("chip_blocked", chip.credential_hash),
        lambda chip: replace(chip, assignment_id=uuid4()),
        lambda chip: replace(chip, upstream=replace(chip.upstream, username="other")),
        lambda chip: replace(chip, credential_hash=hashlib.sha256(b"new").digest()),
    ],
    ids=["refused", "reassigned", "other upstream", "token rotated"],
)
def test_a_changed_chip_loses_its_tunnels_and_no_other_does(
    plain_rig: Rig, change: Callable[[ChipPass], ChipPass | Refused]
) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    other, _ = plain_rig.chip(upstream, user)
    with (
        open_http(gateway.port, chip, "token", plain_rig.target()) as changed,
        open_http(gateway.port, other, "token", plain_rig.target()) as untouched,
    ):
        plain_rig.bank.change_pass(UUID(chip), change)
        changed.settimeout(1.0)
        assert changed.recv(1) == b""
        assert says(untouched, b"still here")
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total)


def test_an_old_token_dies_at_once(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    open_http(gateway.port, chip, "token", plain_rig.target()).close()
    new = hashlib.sha256(b"new").digest()
    plain_rig.bank.change_pass(UUID(chip), lambda old: replace(old, credential_hash=new))

    def refused() -> bool:
        with http_connect(gateway.port, chip, "token", plain_rig.target()) as client:
            return read_head(client).startswith("HTTP/1.1 407 ")

    assert eventually(refused, within_s=1)
    open_http(gateway.port, chip, "new", plain_rig.target()).close()


def test_an_unchanged_chip_keeps_its_tunnels(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        asked = gateway.control.calls["authorise"]
        known = plain_rig.bank.passes[UUID(chip)]
        assert isinstance(known, ChipPass)
        for change in (Change("user", user), Change("proxy", known.proxy_id), Change("provider", known.provider_id)):
            plain_rig.bank.tell(change)
            asked += 1
            assert eventually(lambda wanted=asked: gateway.control.calls["authorise"] == wanted)
        plain_rig.bank.tell(Change("user", uuid4()))
        plain_rig.bank.tell(Change("resync"))
        assert eventually(lambda: gateway.control.calls["authorise"] == asked + 1)
        assert says(client, b"still here")


def the_tunnel(gateway: RunningGateway) -> Tunnel:
    (only,) = gateway.call(lambda: list(gateway.gateway._registry.everyone()))
    assert isinstance(only, Tunnel)
    return only


def test_a_new_price_counts_on_in_a_new_row(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        for price in (1, 2, 1, 3):
            rig.bank.change_pass(UUID(chip), lambda old, price=price: replace(old, price_id=price))
            running = the_tunnel(gateway)
            assert eventually(lambda price=price, running=running: running.chip_pass.price_id == price)
            payload = os.urandom(1000 * price)
            client.sendall(payload)
            assert read_exactly(client, len(payload)) == payload
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    rows = sorted((row.price_id, row.bytes_up) for row in rig.bank.rows.values())
    assert rows == [(1, 1000), (1, 1000), (2, 2000), (3, 3000)]


def test_who_waits_for_a_change_hears_when_running_tunnels_follow_it(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, _user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()):
        running = the_tunnel(gateway)
        rig.bank.passes[UUID(chip)] = replace(rig.bank.passes[UUID(chip)], price_id=9)
        gateway.control.slow_s = 0.2
        token = uuid4()
        rig.bank.tell(Change("provider", running.chip_pass.provider_id, token))
        assert eventually(lambda: rig.bank.followed == [token])
        assert running.chip_pass.price_id == 9


def test_a_change_that_concerns_no_tunnel_is_answered_as_well(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, _user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()):
        token = uuid4()
        rig.bank.tell(Change("provider", uuid4(), token))
        assert eventually(lambda: rig.bank.followed == [token])


class Clock:
    """A wall clock that a test moves."""

    def __init__(self, start: datetime) -> None:
        self.offset = start.timestamp() - time.time()

    def __call__(self) -> float:
        return time.time() + self.offset

    def set(self, moment: datetime) -> None:
        self.offset = moment.timestamp() - time.time()


def test_the_months_end_in_the_middle_of_a_tunnel(rig: Rig) -> None:
    """São Paulo is three hours behind UTC: its November begins at 03:00 UTC."""
    clock = Clock(datetime(2025, 11, 1, 2, 59, 50, tzinfo=UTC))
    upstream, gateway = rig.upstream(), rig.gateway(wall=clock)
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 1_000_000)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert says(client, b"october")
        clock.set(datetime(2025, 11, 1, 3, 0, 1, tzinfo=UTC))
        assert says(client, b"november!")
        clock.set(datetime(2025, 11, 1, 4, 0, 1, tzinfo=UTC))
        assert says(client, b"an hour on")
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    rows = {row.hour: row.bytes_up for row in rig.bank.rows.values()}
    hours = [datetime(2025, 11, 1, hour, tzinfo=UTC) for hour in (2, 3, 4)]
    assert rows == dict(zip(hours, (7, 9, 10), strict=True))
    assert len({row.tunnel_id for row in rig.bank.rows.values()}) == 1


def test_a_clock_that_jumps_back_loses_nothing(rig: Rig) -> None:
    """The same hour comes twice; a row that was counted on is never counted on again from 0."""
    clock = Clock(datetime(2025, 10, 10, 12, 30, tzinfo=UTC))
    upstream, gateway = rig.upstream(), rig.gateway(wall=clock)
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert says(client, b"first")
        for hour in (14, 12, 14, 12):
            clock.set(datetime(2025, 10, 10, hour, 30, tzinfo=UTC))
            assert says(client, b"again")
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


def test_draining_refuses_the_new_and_lets_the_old_finish(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway(drain_s=5.0)
    chip, user = rig.chip(upstream)
    half = socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
    assert eventually(lambda: gateway.call(lambda: gateway.gateway.plane.tally.handshakes) == 1)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        gateway.ask_to_stop()
        assert eventually(lambda: gateway.gateway._desk.draining)
        assert says(client, b"while draining")
        head = http_connect_on(half, chip, rig.target())
        assert head.startswith("HTTP/1.1 503 ")
        assert "X-Gateway-Reason: draining\r\n" in head
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gateway.port), timeout=5)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    gateway.stop()
    assert rig.bank.used(user) == upstream.total
    assert list(rig.counters_dir.iterdir()) == []


def http_connect_on(sock: socket.socket, chip: str, target: str) -> str:
    from tests.gateway.wire import basic

    with sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nProxy-Authorization: Basic {basic(chip, 'token')}\r\n\r\n".encode())
        return read_head(sock)


def test_a_stop_ends_the_rest_and_settles_everything(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway(drain_s=0.1, report_every_s=60.0)
    chip, user = rig.chip(upstream)
    rig.bank.set_limit(user, 10_000_000)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert says(client, b"x" * 10_000)
        gateway.stop()
        assert read_to_end(client) == b""
    assert rig.bank.used(user) == upstream.total
    assert rig.bank.outstanding(user) == 0
    assert list(rig.counters_dir.iterdir()) == []


def test_a_stop_without_control_plane_leaves_the_counters_for_the_next_boot(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway(report_every_s=60.0)
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert says(client, b"x" * 10_000)
        gateway.control.down = True
        gateway.stop()
    before = rig.bank.used(user)
    assert before < upstream.total
    rig.gateway()
    assert eventually(lambda: rig.bank.used(user) == upstream.total)
    assert eventually(lambda: len(list(rig.counters_dir.iterdir())) == 1)
    assert rig.bank.settled == [gateway.control.boot_id]


def test_nothing_is_lost_while_reports_are_not_answered(rig: Rig) -> None:
    upstream, gateway = rig.upstream(), rig.gateway()
    chip, user = rig.chip(upstream)
    for _ in range(3):
        with open_http(gateway.port, chip, "token", rig.target()) as client:
            assert says(client, b"before")
            gateway.control.down = True
            assert says(client, b"during" * 1000)
        assert eventually(lambda: gateway.open_tunnels == 0)
        time.sleep(0.2)
        assert rig.bank.used(user) < upstream.total
        gateway.control.down = False
        assert eventually(lambda: rig.bank.used(user) == upstream.total)
    assert eventually(lambda: gateway.call(lambda: gateway.gateway._counters.live_slots) == 0)


def test_two_gateways_share_one_port(plain_rig: Rig) -> None:
    upstream = plain_rig.upstream()
    one = plain_rig.gateway(reuse_port=True)
    two = plain_rig.gateway(reuse_port=True, port=one.port)
    chip, user = plain_rig.chip(upstream)
    for _ in range(40):
        with open_http(one.port, chip, "token", plain_rig.target()) as client:
            assert says(client, b"hi")
    shares = [running.call(lambda r=running: r.gateway.plane.tally.tunnels_started) for running in (one, two)]
    assert sum(shares) == 40
    assert min(shares) > 0
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total)


def test_the_status_listener_tells_health_readiness_and_metrics(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(status_port=0)
    chip, _ = plain_rig.chip(upstream)
    status = gateway.gateway.status_port
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        assert says(client, b"x" * 500)
        assert get(status, "/healthz")[0] == 200
        assert eventually(lambda: get(status, "/readyz") == (200, "ready\n"))
        assert eventually(lambda: 'whago_gateway_bytes_total{direction="up"} 500.0' in get(status, "/metrics")[1])
        assert "whago_gateway_tunnels 1.0" in get(status, "/metrics")[1]
        assert get(status, "/nothing")[0] == 404


def get(port: int, path: str) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = read_to_end(client).decode().partition("\r\n\r\n")
    return int(head.split(" ")[1]), body
