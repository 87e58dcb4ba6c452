"""A provider that stalls, resets, lies or dribbles, and ends that close in halves: what it costs in bytes.

Every test runs with splice and without it; the provider of the rig counts by itself.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from uuid import UUID

import pytest

from tests.faults.figures import State
from tests.gateway.conftest import Rig
from tests.gateway.wire import Wire, eventually, http_connect, open_http, read_exactly, read_head, read_to_end
from whago.gateway.config import READ_BYTES, Limits
from whago.providers.handshake.http_head import MAX_HEAD_BYTES

HURRIED = Limits(handshake_s=1.0, dial_s=1.0, attempt_s=0.5)
RESET = b"\x01\0\0\0\0\0\0\0"  # SO_LINGER on, 0 s: closing resets
BULK_BYTES = 10_000_000
HTTP_YES = b"HTTP/1.1 200 OK\r\n\r\n"
SOCKS_YES = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00"
YES = {"http": HTTP_YES, "socks5": SOCKS_YES}


def engine(rig: Rig) -> str:
    return "splice" if rig.splice else "plain"


def refusal(rig: Rig, port: int, chip: str) -> str:
    """The reason, once the client was told it."""
    with http_connect(port, chip, "token", rig.target()) as client:
        head = read_head(client)
        assert read_to_end(client)
    return head.partition("X-Gateway-Reason: ")[2].partition("\r\n")[0]


def settled(rig: Rig, user: UUID, wire: Callable[[], int]) -> bool:
    return eventually(lambda: rig.bank.used(user) == wire())


@pytest.mark.parametrize("protocol", ["http", "socks5"])
def test_a_provider_that_stalls_before_its_answer(rig: Rig, state: State, protocol: str) -> None:
    hold = threading.Event()
    upstream = rig.upstream(protocol, answer=lambda _: hold.wait(15) and False)
    gateway = rig.gateway(HURRIED)
    chip, user = rig.chip(upstream)
    assert refusal(rig, gateway.port, chip) == "upstream_timeout"
    hold.set()
    settled(rig, user, lambda: upstream.total)
    figure = state(
        f"provider stalls before its answer ({protocol}, {engine(rig)})",
        wire=upstream.total,
        billed=rig.bank.used(user),
    )
    assert (figure.lost, figure.over) == (0, 0)


def test_a_provider_that_stalls_in_the_middle(rig: Rig, state: State) -> None:
    """The silent tunnel ends by its own deadline; the chip has all that came before."""
    hold = threading.Event()

    def half_a_file(wire: Wire) -> bool:
        wire.send(HTTP_YES + bytes(BULK_BYTES))
        hold.wait(15)
        return False

    upstream, gateway = rig.upstream(answer=half_a_file), rig.gateway(Limits(idle_s=1.0))
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert len(read_to_end(client)) == BULK_BYTES
    hold.set()
    settled(rig, user, lambda: upstream.total)
    figure = state(f"provider stalls in the middle ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)
    assert gateway.call(lambda: gateway.gateway.plane.tally.ends["idle"]) == 1


def test_a_provider_that_resets_instead_of_an_answer(rig: Rig, state: State) -> None:
    def reset(wire: Wire) -> bool:
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return False

    upstream, gateway = rig.upstream(answer=reset), rig.gateway()
    chip, user = rig.chip(upstream)
    assert refusal(rig, gateway.port, chip) in ("upstream_unreachable", "upstream_refused")
    settled(rig, user, lambda: upstream.total)
    figure = state(f"provider resets, no answer ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)


def test_a_provider_that_resets_when_all_has_arrived(rig: Rig, state: State) -> None:
    arrived = threading.Event()

    def reset_later(wire: Wire) -> bool:
        wire.send(HTTP_YES + bytes(BULK_BYTES))
        assert arrived.wait(15)
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return False

    upstream, gateway = rig.upstream(answer=reset_later), rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert len(read_exactly(client, BULK_BYTES)) == BULK_BYTES
        arrived.set()
        assert read_to_end(client) == b""
    settled(rig, user, lambda: upstream.total)
    figure = state(f"provider resets after a file ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)


def test_a_provider_that_resets_in_the_middle(rig: Rig, state: State) -> None:
    """A reset throws away what the kernels still held: only what the chip got was carried for it."""

    def reset(wire: Wire) -> bool:
        wire.send(HTTP_YES + bytes(BULK_BYTES))
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return False

    upstream, gateway = rig.upstream(answer=reset), rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        got = len(read_to_end(client))
    assert eventually(lambda: gateway.open_tunnels == 0)
    wire = upstream.total - BULK_BYTES + got
    assert eventually(lambda: rig.bank.used(user) >= wire)
    figure = state(f"provider resets in the middle ({engine(rig)})", wire=wire, billed=rig.bank.used(user))
    assert figure.lost == 0
    assert figure.billed <= upstream.total


@pytest.mark.parametrize(
    ("lie", "protocol", "payload", "reason"),
    [
        ("a status that is none", "http", b"HTTP/1.1 2OO OK\r\n\r\n", "upstream_protocol"),
        ("another protocol", "http", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "upstream_protocol"),
        ("a head without end", "http", b"HTTP/1.1 200 OK\r\nX: ".ljust(MAX_HEAD_BYTES, b"y"), "upstream_protocol"),
        ("interim answers without end", "http", b"HTTP/1.1 100 Continue\r\n\r\n" * 5, "upstream_protocol"),
        ("a payment page", "http", b"HTTP/1.1 402 Payment Required\r\n\r\npay", "upstream_refused"),
        ("a reply of SOCKS4", "socks5", b"\x04\x5a", "upstream_protocol"),
        ("a reply code of none", "socks5", b"\x05\x63", "upstream_protocol"),
        ("an address type of none", "socks5", b"\x05\x00\x00\x09\x00", "upstream_protocol"),
    ],
)
def test_a_provider_that_lies(rig: Rig, state: State, lie: str, protocol: str, payload: bytes, reason: str) -> None:
    upstream, gateway = rig.upstream(protocol, answer=lambda wire: wire.send(payload) is not None), rig.gateway()
    chip, user = rig.chip(upstream)
    assert refusal(rig, gateway.port, chip) == reason
    settled(rig, user, lambda: upstream.total)
    figure = state(f"provider lies: {lie} ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)


@pytest.mark.parametrize("protocol", ["http", "socks5"])
def test_a_provider_that_agrees_and_then_sends_garbage(rig: Rig, state: State, protocol: str) -> None:
    """Behind a yes nothing is ours to judge: it is the tunnel's, and it is counted."""
    garbage = b"HTTP/1.1 500 no\r\n\r\n\x00\xff" + os.urandom(300_000)
    upstream = rig.upstream(protocol, answer=lambda wire: wire.send(YES[protocol] + garbage) is not None)
    gateway = rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert read_to_end(client) == garbage
    settled(rig, user, lambda: upstream.total)
    figure = state(
        f"provider agrees, then garbage ({protocol}, {engine(rig)})", wire=upstream.total, billed=rig.bank.used(user)
    )
    assert (figure.lost, figure.over) == (0, 0)
    assert rig.bank.usage_of(UUID(chip))[1] == len(garbage)


@pytest.mark.parametrize("protocol", ["http", "socks5"])
def test_a_provider_that_sends_one_byte_at_a_time(rig: Rig, state: State, protocol: str) -> None:
    def dribble(wire: Wire) -> bool:
        for byte in YES[protocol] + bytes(range(256)) * 4:
            wire.send(bytes([byte]))
        return False

    upstream, gateway = rig.upstream(protocol, answer=dribble), rig.gateway()
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert read_to_end(client) == bytes(range(256)) * 4
    settled(rig, user, lambda: upstream.total)
    figure = state(
        f"provider sends byte by byte ({protocol}, {engine(rig)})", wire=upstream.total, billed=rig.bank.used(user)
    )
    assert (figure.lost, figure.over) == (0, 0)


def test_a_provider_that_dribbles_without_end_is_given_up(rig: Rig, state: State) -> None:
    """A byte now and then is no reason to wait longer."""
    stopped = threading.Event()

    def dribble(wire: Wire) -> bool:
        wire.send(b"HTTP/1.1 200 OK\r\nX: ")
        while not stopped.wait(0.05):
            wire.send(b"y")
        return False

    upstream, gateway = rig.upstream(answer=dribble), rig.gateway(HURRIED)
    chip, user = rig.chip(upstream)
    assert refusal(rig, gateway.port, chip) == "upstream_timeout"
    stopped.set()
    settled(rig, user, lambda: upstream.total)
    figure = state(f"provider dribbles without end ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert figure.over == 0
    assert figure.lost <= 40, "bytes that came after the chip had its answer"


def test_the_chip_closes_its_half_first(rig: Rig, state: State) -> None:
    def answer_at_the_end(sock: socket.socket) -> None:
        total = len(read_to_end(sock))
        sock.sendall(b"%08d" % total * (BULK_BYTES // 8))

    origin = rig.serve(answer_at_the_end)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        client.sendall(bytes(BULK_BYTES))
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b"%08d" % BULK_BYTES * (BULK_BYTES // 8)
    settled(rig, user, lambda: upstream.total)
    figure = state(f"chip closes its half first ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)
    assert rig.bank.usage_of(UUID(chip))[:2] == (BULK_BYTES, BULK_BYTES)


def test_the_origin_closes_its_half_first(rig: Rig, state: State) -> None:
    received: list[int] = []

    def listen_at_the_end(sock: socket.socket) -> None:
        sock.sendall(bytes(BULK_BYTES))
        sock.shutdown(socket.SHUT_WR)
        received.append(len(read_to_end(sock)))

    origin = rig.serve(listen_at_the_end)
    upstream, gateway = rig.upstream(), rig.gateway(ports=(origin.port,))
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        assert len(read_to_end(client)) == BULK_BYTES
        client.sendall(bytes(BULK_BYTES))
        client.shutdown(socket.SHUT_WR)
        assert eventually(lambda: received == [BULK_BYTES])
    settled(rig, user, lambda: upstream.total)
    figure = state(f"origin closes its half first ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)
    assert rig.bank.usage_of(UUID(chip))[:2] == (BULK_BYTES, BULK_BYTES)


def test_a_half_that_nobody_ends_is_ended(rig: Rig, state: State) -> None:
    """The chip is done, the origin never is: the tunnel goes after the shorter patience with half-closed ones."""
    hold = threading.Event()
    origin = rig.serve(lambda _: hold.wait(15) and None)
    upstream, gateway = rig.upstream(), rig.gateway(Limits(idle_s=60.0, half_closed_idle_s=1.0), ports=(origin.port,))
    chip, user = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target(origin)) as client:
        client.sendall(bytes(READ_BYTES))
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    hold.set()
    settled(rig, user, lambda: upstream.total)
    figure = state(f"half a tunnel that nobody ends ({engine(rig)})", wire=upstream.total, billed=rig.bank.used(user))
    assert (figure.lost, figure.over) == (0, 0)
