"""Every refusal, as an HTTP and as a SOCKS5 client sees it; the gateway answers rather than hang."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from tests.gateway.conftest import Rig
from tests.gateway.wire import (
    UpstreamProxy,
    Wire,
    eventually,
    http_connect,
    open_http,
    read_exactly,
    read_head,
    read_to_end,
    socks5_reply,
)
from whago.gateway.config import Limits
from whago.gateway.control import ChipPass, Refused

HURRIED = Limits(handshake_s=0.5, dial_s=1.0, attempt_s=0.5)


def http_answer(port: int, username: str, token: str, target: str) -> tuple[int, str]:
    """Status and reason; checks what every refusal must carry."""
    with http_connect(port, username, token, target) as client:
        head = read_head(client)
        body = read_to_end(client)
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
    assert fields["Connection"] == "close"
    assert int(fields["Content-Length"]) == len(body) > 10
    return int(head.split(" ")[1]), fields["X-Gateway-Reason"]


def socks_answer(port: int, username: str, token: str, target: str) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        return socks5_reply(client, username, token, target)


def test_a_host_or_port_off_the_list(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    assert http_answer(gateway.port, chip, "token", "example.com:443") == (403, "host_not_allowed")
    assert http_answer(gateway.port, chip, "token", "0x7f.1:443") == (403, "host_not_allowed")
    assert http_answer(gateway.port, chip, "token", "[::1]:443") == (403, "host_not_allowed")
    assert http_answer(gateway.port, chip, "token", "web.whatsapp.com:25") == (403, "port_not_allowed")
    assert socks_answer(gateway.port, chip, "token", "example.com:443") == 2
    assert upstream.wires == []


def test_a_wrong_credential_learns_nothing_else(plain_rig: Rig) -> None:
    """Neither that the host is off the list, nor that the quota is spent, nor that the chip is unknown."""
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    plain_rig.bank.set_limit(user, 0)
    answers = {
        http_answer(gateway.port, name, token, target)
        for name, token in [(chip, "wrong"), (str(uuid4()), "token"), ("nobody", "token"), (chip, "")]
        for target in ["example.com:443", "web.whatsapp.com:443"]
    }
    assert answers == {(407, "bad_credential")}
    assert socks_answer(gateway.port, chip, "wrong", "web.whatsapp.com:443") == 0x100


def test_a_missing_credential_is_asked_for(plain_rig: Rig) -> None:
    gateway = plain_rig.gateway()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nHost: a\r\n\r\n")
        head = read_head(client)
    assert head.startswith("HTTP/1.1 407 ")
    assert 'Proxy-Authenticate: Basic realm="whago"' in head


def test_a_chip_id_without_dashes_is_the_same_chip(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    open_http(gateway.port, UUID(chip).hex, "token", plain_rig.target()).close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET http://web.whatsapp.com/ HTTP/1.1\r\nHost: a\r\n\r\n", 403),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),  # TLS spoken to a plain port
        (b"CONNECT web.whatsapp.com HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\nHost: a\n\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\n" + b"X-Flood: 1\r\n" * 2000, 400),
        (b"A" * 9000, 400),
    ],
)
def test_what_is_no_connect_is_answered_at_once(plain_rig: Rig, sent: bytes, status: int) -> None:
    gateway = plain_rig.gateway()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        with contextlib.suppress(ConnectionError):
            client.sendall(sent)
        assert read_head(client).startswith(f"HTTP/1.1 {status} ")


def test_a_refused_chip_tells_its_owner_why(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    known = plain_rig.bank.passes[UUID(chip)]
    plain_rig.bank.passes[UUID(chip)] = Refused("no_healthy_proxy", known.credential_hash)
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (503, "no_healthy_proxy")
    assert http_answer(gateway.port, chip, "wrong", plain_rig.target()) == (407, "bad_credential")
    assert socks_answer(gateway.port, chip, "token", plain_rig.target()) == 1
    plain_rig.bank.passes[UUID(chip)] = Refused("exit_ip_changed", known.credential_hash)
    assert eventually(lambda: http_answer(gateway.port, chip, "token", plain_rig.target()) == (503, "exit_ip_changed"))


def test_a_control_plane_that_does_not_answer(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    gateway.control.down = True
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (503, "control_unavailable")


def test_more_tunnels_than_a_chip_may_have(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(Limits(tunnels_per_chip=2))
    chip, user = plain_rig.chip(upstream)
    other, _ = plain_rig.chip(upstream, user)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as first:
        with open_http(gateway.port, chip, "token", plain_rig.target()):
            assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (503, "too_many_tunnels")
            open_http(gateway.port, other, "token", plain_rig.target()).close()
        assert eventually(lambda: gateway.open_tunnels == 1)
        open_http(gateway.port, chip, "token", plain_rig.target()).close()
        first.sendall(b"x")
        assert read_exactly(first, 1) == b"x"


def test_more_tunnels_than_the_process_may_have(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(Limits(max_tunnels=1))
    chip, _ = plain_rig.chip(upstream)
    with open_http(gateway.port, chip, "token", plain_rig.target()):
        assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (503, "too_many_tunnels")


def answering(payload: bytes) -> Callable[[Wire], bool]:
    def answer(wire: Wire) -> bool:
        wire.send(payload)
        return False

    return answer


OUT_OF_REACH = b"HTTP/1.1 502 No\r\nProxy-Status: exit; error=dns_error; next-hop=localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("protocol", "payload", "status", "reason", "reply"),
    [
        ("http", b"HTTP/1.1 503 No\r\n\r\n", 502, "upstream_refused", 5),
        ("http", OUT_OF_REACH, 502, "target_unreachable", 4),
        ("http", b"HTTP/1.1 407 Pay\r\n\r\n", 502, "upstream_auth_failed", 1),
        ("http", b"HTTP/1.1 200 OK\r\nlie\r\n\r\n", 502, "upstream_protocol", 1),
        ("http", b"SSH-2.0-OpenSSH\r\n\r\n", 502, "upstream_protocol", 1),
        ("http", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 3000, 502, "upstream_protocol", 1),
        ("http", b"", 502, "upstream_refused", 5),
        ("socks5", b"\x05\x05\x00\x01", 502, "upstream_refused", 5),
        ("socks5", b"\x04\x00", 502, "upstream_protocol", 1),
        ("socks5", b"", 502, "upstream_refused", 5),
    ],
)
def test_an_upstream_that_refuses_or_lies(
    plain_rig: Rig, protocol: str, payload: bytes, status: int, reason: str, reply: int
) -> None:
    upstream, gateway = plain_rig.upstream(protocol, answer=answering(payload)), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (status, reason)
    assert socks_answer(gateway.port, chip, "token", plain_rig.target()) == reply
    proxy = plain_rig.bank.passes[UUID(chip)]
    assert isinstance(proxy, ChipPass)
    assert eventually(lambda: plain_rig.bank.dials[proxy.proxy_id, reason] == 2)
    assert plain_rig.bank.used(user) > 0


@pytest.mark.parametrize("protocol", ["http", "socks5"])
def test_an_upstream_that_does_not_take_our_credential(plain_rig: Rig, protocol: str) -> None:
    upstream, gateway = plain_rig.upstream(protocol), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    known = plain_rig.bank.passes[UUID(chip)]
    assert isinstance(known, ChipPass)
    plain_rig.bank.passes[UUID(chip)] = replace(known, upstream=replace(known.upstream, password="old"))
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (502, "upstream_auth_failed")


def test_an_upstream_that_resets(plain_rig: Rig) -> None:
    def reset(wire: Wire) -> bool:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        return False

    upstream, gateway = plain_rig.upstream(answer=reset), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    assert http_answer(gateway.port, chip, "token", plain_rig.target())[0] == 502


def test_an_upstream_that_is_not_there(plain_rig: Rig) -> None:
    with UpstreamProxy("http") as gone:
        chip, _ = plain_rig.chip(gone)
    gateway = plain_rig.gateway()
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (502, "upstream_unreachable")
    assert socks_answer(gateway.port, chip, "token", plain_rig.target()) == 4


def test_an_upstream_that_stalls(plain_rig: Rig) -> None:
    def stall(wire: Wire) -> bool:
        wire.sock.recv(1)
        return False

    upstream, gateway = plain_rig.upstream(answer=stall), plain_rig.gateway(HURRIED)
    chip, _ = plain_rig.chip(upstream)
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (504, "upstream_timeout")
    assert socks_answer(gateway.port, chip, "token", plain_rig.target()) == 6


def test_a_private_upstream_is_not_dialled_unless_allowed(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(allow_private_upstreams=False)
    chip, _ = plain_rig.chip(upstream)
    assert http_answer(gateway.port, chip, "token", plain_rig.target()) == (502, "upstream_unreachable")
    assert upstream.wires == []


@pytest.mark.parametrize(
    ("started", "answer"),
    [
        (b"CONNECT web.whatsapp.com:443 HT", b"HTTP/1.1 408 "),
        (b"\x05\x02\x00\x02", b"\x05\x02\x01\x01"),
        (b"\x05", b"\x05\xff"),
        (b"", b""),
    ],
)
def test_a_client_that_stalls_is_answered_and_closed(plain_rig: Rig, started: bytes, answer: bytes) -> None:
    gateway = plain_rig.gateway(HURRIED)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as client:
        client.sendall(started)
        got = read_to_end(client)
    assert got.startswith(answer)
    assert bool(got) == bool(answer)


def test_an_idle_tunnel_is_closed_and_a_talking_one_is_not(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(Limits(idle_s=1.0))
    chip, _ = plain_rig.chip(upstream)
    with (
        open_http(gateway.port, chip, "token", plain_rig.target()) as silent,
        open_http(gateway.port, chip, "token", plain_rig.target()) as talking,
    ):
        silent.settimeout(0.3)
        ended = False
        while not ended:
            talking.sendall(b"x")
            assert read_exactly(talking, 1) == b"x"
            with contextlib.suppress(TimeoutError):
                ended = silent.recv(1) == b""
        talking.sendall(b"y")
        assert read_exactly(talking, 1) == b"y"


def test_running_out_of_descriptors_refuses_and_recovers(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open_http(gateway.port, chip, "token", plain_rig.target()) as running:
        waiting = [socket.create_connection(("127.0.0.1", gateway.port), timeout=5) for _ in range(40)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_highest_fd() - 20, hard))
            busy = time.thread_time()
            running.sendall(b"x")
            assert read_exactly(running, 1) == b"x"
            assert time.thread_time() - busy < 5
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in waiting:
            client.close()
        assert eventually(lambda: gateway.call(lambda: gateway.gateway.plane.tally.handshakes) == 0)
        open_http(gateway.port, chip, "token", plain_rig.target()).close()


def _highest_fd() -> int:
    with open("/dev/null") as probe:
        return probe.fileno()


def test_a_flood_of_strangers_does_not_stop_the_others(plain_rig: Rig) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)

    def flood() -> None:
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as stranger:
                stranger.sendall(b"\x00garbage")

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
        for _ in range(50):
            client.sendall(b"ping")
            assert read_exactly(client, 4) == b"ping"
    for thread in threads:
        thread.join()
    assert eventually(lambda: gateway.open_tunnels == 0)
