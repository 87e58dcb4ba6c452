"""Crowds, floods and shortages: what is refused, that it stays bounded, and that it passes by itself."""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.gateway.conftest import Rig, RunningGateway
from tests.gateway.crowd import Crowd
from tests.gateway.gateway_process import chip_ids
from tests.gateway.test_gateway_crash import gateway_process
from tests.gateway.wire import (
    Server,
    UpstreamProxy,
    Wire,
    echo,
    eventually,
    http_connect,
    open_http,
    read_exactly,
    read_head,
    read_to_end,
)
from whago.gateway import listener, pipes, server, sockets
from whago.gateway.config import KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, USER_TIMEOUT_S, Limits
from whago.gateway.tunnel import Tunnel

FLOOD_BYTES = 64 * 1024 * 1024  # the gateway reads at most LINGER_BYTES of it, and the kernel buffers some
FEW_DESCRIPTORS = 128
MANY_TUNNELS = 2000
KIB_A_TUNNEL = 4  # the benchmark's target is 2 at 5,000; here the fixed parts weigh more


def tunnel_of(gateway: RunningGateway) -> Tunnel:
    (found,) = gateway.call(lambda: list(gateway.gateway._registry.everyone()))
    assert isinstance(found, Tunnel)
    return found


def handshakes(gateway: RunningGateway) -> int:
    count: int = gateway.call(lambda: gateway.gateway.plane.tally.handshakes)
    return count


def says(client: socket.socket, word: bytes) -> bool:
    client.sendall(word)
    return read_exactly(client, len(word)) == word


@pytest.mark.parametrize("side", ["_client", "_upstream"])
def test_both_sides_send_at_once_and_a_tunnel_that_lasts_notices_a_peer_that_is_gone(plain_rig: Rig, side: str) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(Limits(half_closed_idle_s=0.5))
    chip, _ = plain_rig.chip(upstream)
    with open_http(gateway.port, chip, "token", plain_rig.target()):
        sock = getattr(tunnel_of(gateway), side)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert not sock.getblocking()
        wanted = {
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): USER_TIMEOUT_S * 1000,
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): KEEPALIVE_IDLE_S,
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): KEEPALIVE_INTERVAL_S,
        }
        assert eventually(lambda: {option: sock.getsockopt(*option) for option in wanted} == wanted)


def test_the_upstream_gets_the_first_message_with_the_end_of_the_tcp_handshake(plain_rig: Rig) -> None:
    segments: list[int] = []

    def note(wire: Wire) -> bool:
        """How many segments had come when the head was complete (struct tcp_info in linux/tcp.h, tcpi_segs_in)."""
        info = wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144)
        segments.append(struct.unpack_from("=I", info, 140)[0])
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        return True

    upstream, gateway = plain_rig.upstream(answer=note), plain_rig.gateway()
    chip, _ = plain_rig.chip(upstream)
    for _ in range(10):  # a gateway that had to wait for a processor is overtaken by the kernel's own acknowledgement
        with open_http(gateway.port, chip, "token", plain_rig.target()) as client:
            assert says(client, b"hello")
    assert min(segments) == 2  # the SYN, and the head


def algorithm(sock: socket.SocketType) -> str:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


def systems_algorithm() -> str:
    with socket.socket() as fresh:
        return algorithm(fresh)


def algorithms_of_a_tunnel(rig: Rig) -> tuple[str, str]:
    """Towards the client and towards the upstream."""
    upstream, gateway = rig.upstream(), rig.gateway(Limits())
    chip, _ = rig.chip(upstream)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        assert says(client, b"hello")
        tunnel = tunnel_of(gateway)
        return algorithm(tunnel._client), algorithm(tunnel._upstream)


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> str:
    """Take the system's algorithm, whatever it is, for one that paces; this one is to be used instead."""
    systems = systems_algorithm()
    other = "cubic" if systems == "reno" else "reno"
    monkeypatch.setattr(sockets, "PACING", systems)
    monkeypatch.setattr(sockets, "UNPACED", ("there-is-none", other))
    return other


def test_what_goes_to_a_near_client_is_not_paced(plain_rig: Rig, another: str) -> None:
    assert algorithms_of_a_tunnel(plain_rig) == (another, systems_algorithm())


def test_what_goes_far_is_paced_if_the_system_paces(
    plain_rig: Rig, another: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "is_near", {"127.0.0.1": False}.__getitem__)
    assert algorithms_of_a_tunnel(plain_rig) == (systems_algorithm(), systems_algorithm()) != (another, another)


@pytest.mark.parametrize(("pacing", "instead"), [("there-is-none", "reno"), ("", "there-is-none")])
def test_a_system_that_does_not_pace_or_has_nothing_else_is_left_alone(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch, pacing: str, instead: str
) -> None:
    monkeypatch.setattr(sockets, "PACING", pacing)
    monkeypatch.setattr(sockets, "UNPACED", (instead,))
    assert algorithms_of_a_tunnel(plain_rig) == (systems_algorithm(), systems_algorithm())


def test_a_crowd_that_says_nothing_is_bounded_and_leaves(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_PENDING_HANDSHAKES", 20)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway(Limits(handshake_s=1.0))
    chip, _ = plain_rig.chip(upstream)
    with ExitStack() as stack, open_http(gateway.port, chip, "token", plain_rig.target()) as running:
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=10)) for _ in range(60)
        ]
        assert eventually(
            lambda: gateway.call(lambda: gateway.gateway.plane.tally.refusals["too_many_handshakes"]) >= 40
        )
        assert handshakes(gateway) <= 20
        assert says(running, b"not disturbed")
        assert all(read_to_end(client) == b"" for client in crowd)
        assert handshakes(gateway) == 0
        open_http(gateway.port, chip, "token", plain_rig.target()).close()


@pytest.mark.parametrize(
    "drops", [b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nX: ", b"\x05\xff"], ids=["http", "socks5"]
)
def test_a_handshake_that_drips_is_not_waited_for_longer_than_a_silent_one(plain_rig: Rig, drops: bytes) -> None:
    gateway = plain_rig.gateway(Limits(handshake_s=1.0))
    stopped = threading.Event()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(drops)

        def drip() -> None:
            while not stopped.wait(0.05):
                try:
                    client.sendall(b"y")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert read_to_end(client)[:13] in (b"HTTP/1.1 408 ", b"\x05\xff")
        finally:
            stopped.set()
            dripping.join()


@pytest.mark.parametrize(
    "start",
    [b"CONNECT a:443 HTTP/1.1\r\n", b"CONNECT a:443 HTTP/1.1\r\nX: ", b"\x05\x01\x09"],
    ids=["lines", "line", "socks5"],
)
def test_a_flood_instead_of_a_handshake_is_cut_off_soon(plain_rig: Rig, start: bytes) -> None:
    """Neither kept nor read for long: what is taken of it is bounded."""
    gateway = plain_rig.gateway()
    flood = b"X-Flood: 1\r\n" * 5000 if start.endswith(b"\n") else b"y" * 60_000
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(start)
        assert pour(client, flood) < FLOOD_BYTES
    assert eventually(lambda: handshakes(gateway) == 0)


def pour(client: socket.socket, block: bytes) -> int:
    """How much of FLOOD_BYTES could be sent before the connection broke."""
    sent = 0
    try:
        while sent < FLOOD_BYTES:
            client.sendall(block)
            sent += len(block)
    except ConnectionError:
        return sent
    return sent


def test_a_client_that_trickles_and_one_that_sips_lose_nothing(rig: Rig) -> None:
    """Slow ends take as long as they like while bytes move now and then."""
    upstream, gateway = rig.upstream(), rig.gateway(Limits(idle_s=2.0))
    chip, user = rig.chip(upstream)
    payload = os.urandom(400_000)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)

        def trickle() -> None:
            for at in range(0, len(payload), 10_000):
                client.sendall(payload[at : at + 10_000])
                time.sleep(0.02)

        sender = threading.Thread(target=trickle)
        sender.start()
        got = bytearray()
        while len(got) < len(payload):
            got += read_exactly(client, min(4_000, len(payload) - len(got)))
            time.sleep(0.01)
        sender.join()
        assert bytes(got) == payload
    assert eventually(lambda: rig.bank.used(user) == upstream.total)


@pytest.fixture
def short_of_pipes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """While the list's one entry is True, the kernel gives no pipes."""
    short = [True]
    true_pipe2 = os.pipe2

    def pipe2(flags: int) -> tuple[int, int]:
        if short[0]:
            raise OSError(errno.ENFILE, "Too many open files in system")
        return true_pipe2(flags)

    monkeypatch.setattr(os, "pipe2", pipe2)
    return short


def transfers(rig: Rig, gateway: RunningGateway, chip: str, size: int = 5_000_000) -> bool:
    """A bulk transfer there and back."""
    payload = os.urandom(size)
    with open_http(gateway.port, chip, "token", rig.target()) as client:
        sender = threading.Thread(target=client.sendall, args=(payload,), daemon=True)
        sender.start()
        arrived = read_exactly(client, size)
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
    return arrived == payload


def test_when_the_kernel_has_no_pipes_it_goes_on_plainly_and_splices_again_later(
    plain_rig: Rig, short_of_pipes: list[bool]
) -> None:
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    assert transfers(plain_rig, gateway, chip)
    pool = gateway.gateway.plane.pipes
    assert (pool.usable, pool.open_pipes) == (True, 0)
    short_of_pipes[0] = False
    assert eventually(lambda: transfers(plain_rig, gateway, chip) and pool.open_pipes > 0)
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total)


def test_pipes_that_are_too_small_are_not_used(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an unprivileged user gets whose share of pipe memory is spent (pipe(7))."""
    monkeypatch.setattr(pipes, "_enlarge", lambda _: 4096)
    upstream, gateway = plain_rig.upstream(), plain_rig.gateway()
    chip, user = plain_rig.chip(upstream)
    before = len(os.listdir("/proc/self/fd"))
    assert transfers(plain_rig, gateway, chip)
    assert gateway.gateway.plane.pipes.open_pipes == 0
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert eventually(lambda: plain_rig.bank.used(user) == upstream.total)


def test_a_process_with_few_descriptors_refuses_in_time_and_recovers(tmp_path: Path) -> None:
    """Some are spared, so that it can still answer, reach its control plane and keep the tunnels it has."""
    few = ("prlimit", f"--nofile={FEW_DESCRIPTORS}:{FEW_DESCRIPTORS}")
    (chip,) = map(str, chip_ids(1))
    with (
        ExitStack() as stack,
        Server(echo) as origin,
        UpstreamProxy("http") as upstream,
        gateway_process(tmp_path, upstream, True, origin.port, wrapper=few) as (process, port),
    ):
        target = f"localhost:{origin.port}"
        held: list[socket.socket] = []
        refusal = ""
        while not refusal:
            client = stack.enter_context(http_connect(port, chip, "token", target))
            head = read_head(client)
            if head.startswith("HTTP/1.1 200 "):
                held.append(client)
            else:
                refusal = head
        assert "503" in refusal.split("\r\n")[0]
        assert "X-Gateway-Reason: too_many_tunnels\r\n" in refusal
        assert len(held) == (FEW_DESCRIPTORS - FEW_DESCRIPTORS // server.SPARE_SHARE) // 2
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(200)]
        assert all(says(client, b"still here") for client in held)
        for client in [*silent, *held]:
            client.close()
        assert eventually(lambda: _opens(port, chip, target))
        assert process.poll() is None


def _opens(port: int, chip: str, target: str) -> bool:
    with http_connect(port, chip, "token", target) as client:
        try:
            return read_head(client).startswith("HTTP/1.1 200 ") and says(client, b"hello")
        except (OSError, EOFError):
            return False


@pytest.mark.parametrize("splice", [True, False], ids=["splice", "plain"])
def test_thousands_of_tunnels_cost_little_and_nothing_once_they_are_gone(tmp_path: Path, splice: bool) -> None:
    with Crowd() as crowd, gateway_process(tmp_path, crowd, splice, 443) as (process, port):
        chips = [(str(chip), "token") for chip in chip_ids(4)]
        crowd.reconnect(port, chips, "localhost:443", 200)  # what is made once is there
        before = resident_kib(process.pid)
        clients = crowd.open(port, chips, "localhost:443", MANY_TUNNELS)
        crowd.echo(clients, b"hello")
        each = (resident_kib(process.pid) - before) / MANY_TUNNELS
        assert each <= KIB_A_TUNNEL, f"{each:.2f} KiB a tunnel"
        assert pipes_of(process.pid) <= pipes.SPARE_PIPES * 2
        crowd.close(clients)
        assert eventually(lambda: sockets_of(process.pid) < 50)
        again = crowd.open(port, chips, "localhost:443", MANY_TUNNELS)
        assert (resident_kib(process.pid) - before) / MANY_TUNNELS <= KIB_A_TUNNEL, "a second crowd costs no more"
        crowd.close(again)


def resident_kib(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def pipes_of(pid: int) -> int:
    return sum(link.startswith("pipe:") for link in _links(pid))


def sockets_of(pid: int) -> int:
    return sum(link.startswith("socket:") for link in _links(pid))


def _links(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield os.readlink(entry)
        except FileNotFoundError:
            continue
