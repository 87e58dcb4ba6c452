"""Every failure switch does what it says, for whom it says, and stops when it is unset."""

from __future__ import annotations

import socket
import time

import pytest

from tests.simulator.counting_client import CountingClient, EchoOrigin, connect_head, eventually
from whago.simulator import SimulatedProvider
from whago.simulator.switches import SwitchBoard, SwitchError


def _use_up(client: CountingClient, payload: bytes) -> None:
    """Whether an RST is first seen by the write or by the read is a matter of timing; a mere FIN satisfies neither."""
    client.send(payload)
    client.read_to_end()


def _echoes(client: CountingClient, payload: bytes = b"ping") -> bool:
    client.send(payload)
    return client.read(len(payload)) == payload


@pytest.mark.parametrize("status", [202, 402, 403, 407, 502, 503, 504, 522])
def test_connect_is_refused_with_the_wanted_status(
    provider: SimulatedProvider, origin: EchoOrigin, status: int
) -> None:
    provider.switch(refuse_connect=status)
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == status
        assert client.read_to_end() == b""
    provider.reset()
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 200
        assert _echoes(client)


@pytest.mark.parametrize(("status", "reply"), [(402, 2), (407, 255), (502, 5), (503, 1), (504, 4), (525, 3)])
def test_socks_refuses_in_its_own_codes(
    provider: SimulatedProvider, origin: EchoOrigin, status: int, reply: int
) -> None:
    provider.switch(refuse_connect=status)
    with CountingClient(provider.port) as client:
        assert client.socks_connect("demo-session-1", "127.0.0.1", origin.port) == reply
        assert client.read_to_end() == b""


def test_a_switch_can_be_for_one_session_or_one_account(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    provider.switch("session:demo:1", refuse_connect=502)
    provider.switch("account:acme-br", refuse_connect=503)
    statuses = []
    for username in ("demo-session-1", "demo-session-2", "acme-br-session-1"):
        with CountingClient(provider.port) as client:
            statuses.append(client.connect(username, origin.target))
    assert statuses == [502, 200, 503]


def test_the_narrower_scope_wins_switch_by_switch() -> None:
    board = SwitchBoard()
    board.set("all", refuse_connect=502, latency_ms=5)
    board.set("account:demo", refuse_connect=503)
    board.set("session:demo:1", stall=True)
    switches = board.effective("demo", "demo:1")
    assert (switches.refuse_connect, switches.latency_ms, switches.stall) == (503, 5, True)
    board.set("account:demo", refuse_connect=None)
    assert board.effective("demo", "demo:1").refuse_connect == 502
    assert board.effective("other", "other:1").stall is None


@pytest.mark.parametrize(
    ("scope", "changes"),
    [
        ("all", {"no_such_switch": True}),
        ("all", {"refuse_connect": 200}),
        ("all", {"refuse_connect": "502"}),
        ("all", {"latency_ms": -1}),
        ("all", {"throughput_bytes_per_s": 0}),
        ("everybody", {"stall": True}),
        ("account:", {"stall": True}),
        ("account:demo", {"port_down": True}),
    ],
)
def test_a_bad_switch_is_refused_and_changes_nothing(scope: str, changes: dict[str, object]) -> None:
    board = SwitchBoard()
    with pytest.raises(SwitchError):
        board.set(scope, **changes)
    assert board.as_dict() == {}


def test_vendor_texts_tell_allow_list_balance_and_country_apart(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    answers = {}
    for name in ("allow_list_denied", "balance_empty", "no_exit_in_country"):
        provider.reset()
        provider.switch("all", **{name: True})
        with CountingClient(provider.port) as client:
            client.send(connect_head("demo-session-1-country-br", origin.target))
            answers[name] = client.read_to_end()
    assert answers["allow_list_denied"].startswith(b"HTTP/1.1 403 ")
    assert b'{"code": 202, "msg": "Your IP 127.0.0.1 is not in the whitelist"}' in answers["allow_list_denied"]
    assert answers["balance_empty"].startswith(b"HTTP/1.1 407 ")
    assert b"insufficient traffic balance" in answers["balance_empty"]
    assert answers["no_exit_in_country"].startswith(b"HTTP/1.1 525 ")
    assert b"no exit available in BR" in answers["no_exit_in_country"]
    assert origin.peers == []


def test_a_port_that_is_down_refuses_connections_and_keeps_running_tunnels(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    port = provider.port
    with CountingClient(port) as client:
        assert client.connect("demo-session-1", origin.target) == 200
        provider.switch(port_down=True)
        with pytest.raises(ConnectionRefusedError):
            CountingClient(port)
        assert _echoes(client)
    provider.switch(port_down=False)
    with CountingClient(port) as client:
        assert client.connect("demo-session-1", origin.target) == 200


def test_a_stalled_connect_is_never_answered_but_counted(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    provider.switch(stall=True)
    with CountingClient(provider.port) as client:
        client.send(connect_head("demo-session-1", origin.target))
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.read(1)
        assert provider.session("1")["wire_up"] == client.sent
    eventually(lambda: provider.state()["clients"] == 0)
    assert origin.peers == []


def test_garbage_is_no_protocol(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    provider.switch(garbage=True)
    with CountingClient(provider.port) as client:
        client.send(connect_head("demo-session-1", origin.target))
        answer = client.read_to_end()
    assert answer
    assert not answer.startswith(b"HTTP/")


def test_one_byte_replies_arrive_one_by_one_and_whole(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    provider.switch(one_byte_replies=True)
    with CountingClient(provider.port) as client:
        client.send(connect_head("demo-session-1", origin.target))
        pieces: list[bytes] = []
        while not b"".join(pieces).endswith(b"\r\n\r\n"):
            pieces.append(client.sock.recv(4096))
        assert b"".join(pieces) == b"HTTP/1.1 200 Connection Established\r\n\r\n"
        assert len(pieces) > 5
        assert _echoes(client)
    with CountingClient(provider.port) as client:
        assert client.socks_connect("demo-session-1", "127.0.0.1", origin.port) == 0
        assert _echoes(client)


def test_latency_is_added_to_the_answer_and_to_each_reply(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    provider.switch(latency_ms=150)
    with CountingClient(provider.port) as client:
        started = time.monotonic()
        assert client.connect("demo-session-1", origin.target) == 200
        connected = time.monotonic()
        assert _echoes(client)
        echoed = time.monotonic()
    assert connected - started >= 0.15
    assert echoed - connected >= 0.15


def test_throughput_is_limited_and_nothing_is_lost(provider: SimulatedProvider) -> None:
    provider.switch(throughput_bytes_per_s=400_000)
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", "x.whatsapp.net:443") == 200
        started = time.monotonic()
        client.send(b"GET /bytes/200000 HTTP/1.1\r\nHost: x\r\n\r\n")
        status, body = client.read_response()
        assert time.monotonic() - started >= 0.4
    assert status == 200
    assert body == bytes(i % 251 for i in range(200_000))


def test_a_frozen_tunnel_moves_nothing_and_goes_on_afterwards(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", origin.target) == 200
        provider.switch("session:demo:1", freeze=True)
        client.send(b"held")
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.read(1)
        provider.reset("session:demo:1")
        client.sock.settimeout(10)
        assert client.read(4) == b"held"


@pytest.mark.parametrize("limit", [0, 1, 10_000, 600_001])
def test_a_tunnel_is_reset_after_exactly_so_many_bytes(provider: SimulatedProvider, limit: int) -> None:
    provider.switch(reset_after_bytes=limit)
    request = b"GET /bytes/1000000 HTTP/1.1\r\nHost: x\r\n\r\n"
    with CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", "x.whatsapp.net:443") == 200
        with pytest.raises(ConnectionError):
            _use_up(client, request)
    eventually(lambda: provider.session("1")["open_tunnels"] == 0)
    counted = provider.session("1")
    moved = counted["wire_total"] - counted["handshake_up"] - counted["handshake_down"]
    assert moved == limit


def test_a_reset_limit_holds_for_bytes_behind_the_connect_too(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    provider.switch(reset_after_bytes=10)
    with CountingClient(provider.port) as client:
        client.send(connect_head("demo-session-1", origin.target) + b"twenty bytes of early")
        with pytest.raises(ConnectionError):
            _use_up(client, b"more")


def test_idle_tunnels_are_dropped_and_busy_ones_stay(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as idle, CountingClient(provider.port) as busy:
        assert idle.connect("demo-session-1", origin.target) == 200
        assert busy.connect("demo-session-2", origin.target) == 200
        provider.switch(drop_idle_after_s=1.5)
        idle.sock.settimeout(0.05)
        ended = False
        while not ended:
            assert _echoes(busy)
            try:
                ended = idle.read_to_end() == b""
            except TimeoutError:
                continue
        assert _echoes(busy)


def test_cut_resets_the_running_tunnels_of_a_scope(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    with CountingClient(provider.port) as first, CountingClient(provider.port) as second:
        assert first.connect("demo-session-1", origin.target) == 200
        assert second.connect("acme-br-session-1", origin.target) == 200
        assert _echoes(first)
        assert _echoes(second)
        assert provider.cut("account:demo") == 1
        with pytest.raises(ConnectionResetError):
            first.read(1)
        assert _echoes(second)
        assert provider.cut() == 1
    eventually(lambda: provider.state()["clients"] == 0)
    assert provider.state()["open_tunnels"] == 0


def test_a_refusal_reaches_a_client_that_sent_more_than_was_read(
    provider: SimulatedProvider, origin: EchoOrigin
) -> None:
    provider.switch(refuse_connect=502)
    for _ in range(20):
        with CountingClient(provider.port) as client:
            client.send(connect_head("demo-session-1", origin.target) + b"x" * 30_000)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.read_to_end().startswith(b"HTTP/1.1 502 ")
