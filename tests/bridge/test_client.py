"""The client against a real bridge: what it answers, and what it makes of a bridge that refuses or is away."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import UUID, uuid4

import pytest

from tests.bridge.conftest import (
    PHONE,
    SECRET,
    Backend,
    BridgeProcess,
    Edge,
    Gateway,
    a_chip,
    eventually,
    start_bridge,
)
from tests.factories import make_ready_pool
from whago.bridge.client import BridgeClient
from whago.bridge.wire import BridgeChip
from whago.domain.rules.thrift import Thrift
from whago.errors import WhagoError


def becomes(client: BridgeClient, chip_id: UUID, state: str) -> BridgeChip:
    chip = eventually(lambda: client.get(chip_id), lambda chip: chip is not None and chip.state == state, state)
    assert chip is not None
    return chip


def open_chip(client: BridgeClient, edge: Edge, gateway: Gateway) -> UUID:
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url())
    becomes(client, chip_id, "qr")
    pairing = client.qr(chip_id)
    assert pairing is not None
    edge.tell("scan", qr=pairing.qr, phone=PHONE)
    becomes(client, chip_id, "open")
    return chip_id


def test_a_chip_is_created_scanned_and_open(client: BridgeClient, edge: Edge, gateway: Gateway) -> None:
    chip_id = a_chip()
    assert client.create(chip_id, gateway.proxy_url("chip-1")).state == "connecting"
    becomes(client, chip_id, "qr")
    pairing = client.qr(chip_id)
    assert pairing is not None
    assert pairing.qr is not None
    assert pairing.qr.startswith("https://wa.me/settings/linked_devices#")
    edge.tell("scan", qr=pairing.qr, phone=PHONE)
    assert becomes(client, chip_id, "open").phone_number == PHONE
    assert client.qr(chip_id) is None
    assert [chip.chip_id for chip in client.list().items] == [chip_id]


def test_every_connect_carries_the_chips_own_credential(client: BridgeClient, gateway: Gateway) -> None:
    chip_id = a_chip()
    seen = len(gateway.heads)
    client.create(chip_id, gateway.proxy_url("chip-2"))
    becomes(client, chip_id, "qr")
    heads = gateway.heads[seen:]
    assert heads
    for head in heads:
        assert head.startswith(b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic Y2hpcC0yOnNlc2FtZQ==\r\n" in head  # chip-2:sesame


def test_creating_again_changes_nothing_and_another_proxy_is_refused(client: BridgeClient, gateway: Gateway) -> None:
    chip_id = a_chip()
    for _ in range(3):
        client.create(chip_id, gateway.proxy_url())
    with pytest.raises(WhagoError) as refused:
        client.create(chip_id, gateway.proxy_url("other"))
    assert (refused.value.code, refused.value.details) == ("bridge_refused", {"reason": "other_proxy"})
    assert "sesame" not in str(refused.value)
    assert client.use_proxy(chip_id, gateway.proxy_url("other")).state == "connecting"


@pytest.mark.parametrize(("status", "reason"), [(402, "quota_exhausted"), (407, "bad_credential")])
def test_a_closed_gateway_blocks_the_chip_until_it_is_told(
    client: BridgeClient, gateway: Gateway, status: int, reason: str
) -> None:
    gateway.refusal = (status, reason)
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url())
    error = becomes(client, chip_id, "proxy_blocked").last_error
    assert error is not None
    assert (error.layer, error.code, error.reason) == ("proxy", status, reason)
    gateway.refusal = None
    client.create(chip_id, gateway.proxy_url())
    becomes(client, chip_id, "qr")


def test_a_provider_in_trouble_is_retried_and_said_when(client: BridgeClient, gateway: Gateway) -> None:
    gateway.refusal = (503, "no_healthy_proxy")
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url())
    chip = becomes(client, chip_id, "backoff")
    assert chip.next_retry_at is not None
    assert chip.next_retry_at > chip.since
    gateway.refusal = None
    becomes(client, chip_id, "qr")


def test_a_stopped_chip_opens_again_without_pairing(client: BridgeClient, edge: Edge, gateway: Gateway) -> None:
    chip_id = open_chip(client, edge, gateway)
    stopped = client.stop(chip_id)
    assert stopped is not None
    assert stopped.state == "stopped"
    client.create(chip_id, gateway.proxy_url())
    becomes(client, chip_id, "open")


def test_deleting_with_logout_unlinks_an_open_chip(client: BridgeClient, edge: Edge, gateway: Gateway) -> None:
    chip_id = open_chip(client, edge, gateway)
    assert client.delete(chip_id, logout=True)
    assert "iq:md:remove-companion-device" in edge.state()["heard"]
    assert client.get(chip_id) is None


def test_deleting_without_logout_unlinks_nothing(client: BridgeClient, edge: Edge, gateway: Gateway) -> None:
    chip_id = open_chip(client, edge, gateway)
    heard = edge.state()["heard"].count("iq:md:remove-companion-device")
    assert not client.delete(chip_id, logout=False)
    assert edge.state()["heard"].count("iq:md:remove-companion-device") == heard


def test_a_pairing_code_instead_of_a_qr_code(client: BridgeClient, gateway: Gateway) -> None:
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url(), pairing="code", phone=PHONE)
    becomes(client, chip_id, "qr")
    pairing = client.qr(chip_id)
    assert pairing is not None
    assert pairing.qr is None
    assert pairing.pairing_code is not None
    assert len(pairing.pairing_code) == 8
    assert client.pairing_code(chip_id, PHONE).pairing_code is not None


def test_an_unknown_chip_is_nothing_to_see_stop_or_delete(client: BridgeClient) -> None:
    assert client.get(uuid4()) is None
    assert client.qr(uuid4()) is None
    assert client.stop(uuid4()) is None
    assert not client.delete(uuid4(), logout=True)


def test_a_proxy_that_is_not_the_gateway_is_refused(client: BridgeClient) -> None:
    with pytest.raises(WhagoError) as refused:
        client.create(a_chip(), "http://chip:sesame@evil.example:3128")
    assert (refused.value.code, refused.value.details) == ("bridge_refused", {"reason": "invalid_body"})


def test_a_wrong_secret_is_refused(bridge: BridgeProcess) -> None:
    with BridgeClient(bridge.url, "another-secret-of-some-length") as client, pytest.raises(WhagoError) as refused:
        client.list()
    assert (refused.value.code, refused.value.details) == ("bridge_refused", {"reason": "unauthorized"})


def test_a_bridge_that_is_gone_is_unavailable_and_comes_back_with_the_pairing(
    database: str, edge: Edge, gateway: Gateway, backend: Backend
) -> None:
    make_ready_pool()
    bridge = start_bridge(edge, gateway.address, backend.url)
    with BridgeClient(bridge.url, SECRET) as client:
        chip_id = open_chip(client, edge, gateway)
        boot_id = client.list().boot_id
        assert bridge.stop() == 0
        with pytest.raises(WhagoError) as away:
            client.get(chip_id)
        assert away.value.code == "bridge_unavailable"
    bridge = start_bridge(edge, gateway.address, backend.url)
    with BridgeClient(bridge.url, SECRET) as client:
        assert client.list().items == []
        assert client.list().boot_id != boot_id
        client.create(chip_id, gateway.proxy_url())
        becomes(client, chip_id, "open")
    assert bridge.stop() == 0


def test_a_chip_that_does_not_exist_is_refused(client: BridgeClient, gateway: Gateway) -> None:
    with pytest.raises(WhagoError) as refused:
        client.create(uuid4(), gateway.proxy_url())
    assert refused.value.details == {"reason": "unknown_chip"}
    assert client.list().items == []


def test_thrift_is_told_and_kept(client: BridgeClient, edge: Edge, gateway: Gateway) -> None:
    chip_id = open_chip(client, edge, gateway)
    changed = client.spare(chip_id, Thrift("recent", 45, status_posts=True))
    assert changed is not None
    assert (changed.history, changed.keep_alive_s, changed.status_posts) == ("recent", 45, True)
    becomes(client, chip_id, "open")
    assert client.spare(uuid4(), Thrift()) is None


def test_logging_out_unlinks_and_the_next_start_pairs_anew(client: BridgeClient, edge: Edge, gateway: Gateway) -> None:
    chip_id = open_chip(client, edge, gateway)
    assert client.logout(chip_id)
    assert becomes(client, chip_id, "logged_out").phone_number is None
    client.create(chip_id, gateway.proxy_url())
    becomes(client, chip_id, "qr")


class _NoBridge(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>" if "sessions/" in self.path else b"[]")

    def log_message(self, *_: object) -> None:
        pass


def test_something_else_at_the_bridges_address_is_no_bridge() -> None:
    with HTTPServer(("127.0.0.1", 0), _NoBridge) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with BridgeClient(f"http://127.0.0.1:{server.server_port}", SECRET) as client:
            for ask in (lambda: client.get(uuid4()), client.list):
                with pytest.raises(WhagoError) as away:
                    ask()
                assert away.value.code == "bridge_unavailable"
        server.shutdown()
