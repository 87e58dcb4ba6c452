"""Plain non-blocking sockets under asyncio, so that every byte is counted by what the kernel took or gave.

asyncio's transports buffer what they are given; a count taken there would include bytes that never left.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Final

DIAL_TIMEOUT_S: Final = 10.0  # loopback answers at once or never
KEEPALIVE_S: Final = 60  # with 4 probes 15 s apart, a peer that vanished without a word is noticed in 2 minutes

_IP_BIND_ADDRESS_NO_PORT: Final = 24  # linux/in.h: the port is chosen at connect, so 28,000 per exit *and* target
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)


async def readable(sock: socket.socket) -> None:
    """Wait until a read would not block."""
    loop = asyncio.get_running_loop()
    await _ready(loop.add_reader, loop.remove_reader, sock)


async def writable(sock: socket.socket) -> None:
    """Wait until a write would not block."""
    loop = asyncio.get_running_loop()
    await _ready(loop.add_writer, loop.remove_writer, sock)


async def receive(sock: socket.socket, limit: int) -> bytes:
    """Up to ``limit`` bytes; empty at the end of input. Raises OSError."""
    while True:
        await readable(sock)
        try:
            return sock.recv(limit)
        except (BlockingIOError, InterruptedError):
            continue


async def send_all(sock: socket.socket, payload: bytes | memoryview, sent: Callable[[int], None]) -> None:
    """Write everything, telling ``sent`` how much the kernel took each time. Raises OSError."""
    rest = memoryview(payload)
    while rest:
        try:
            taken = sock.send(rest)
        except (BlockingIOError, InterruptedError):
            if not isinstance(rest.obj, bytes):
                rest = memoryview(bytes(rest))  # the caller's buffer is shared with others while we wait
            await writable(sock)
            continue
        sent(taken)
        rest = rest[taken:]


def prepare(sock: socket.socket) -> None:
    """What every tunnel socket gets: non-blocking, no Nagle delay, keep-alive."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


async def dial(target: tuple[str, int], source_ip: str) -> socket.socket:
    """Connect to ``target`` from ``source_ip``. Raises OSError (TimeoutError among them)."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        prepare(sock)
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source_ip, 0))
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(host: str, port: int) -> socket.socket:
    """A non-blocking listening socket. Raises OSError that names the address when it is taken."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(1024)
    except OSError as busy:
        sock.close()
        raise OSError(busy.errno, f"{host}:{port} cannot be used: {(busy.strerror or 'unknown').lower()}") from busy
    return sock


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN; harmless on a closed socket."""
    if sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        sock.close()


async def _ready(watch: Callable[..., None], unwatch: Callable[..., object], sock: socket.socket) -> None:
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch(sock, _wake, waiting)
    try:
        await waiting
    finally:
        unwatch(sock)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
