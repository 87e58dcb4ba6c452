"""Real sockets around the gateway: an upstream proxy that counts every byte itself, origins, and clients.

Blocking sockets and threads, and no code shared with the gateway, so that the counts are independent.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

TIMEOUT_S = 15.0
USERNAME, PASSWORD = "user-session-1", "s3cret"

Handler = Callable[[socket.socket], None]


class Server:
    """Accepts on a loopback port; every connection runs ``handle`` in a thread of its own."""

    def __init__(self, handle: Handler, host: str = "127.0.0.1") -> None:
        self._handle = handle
        self._listener = socket.create_server((host, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.settimeout(TIMEOUT_S)
            self._open.append(sock)
            thread = threading.Thread(target=self._run, args=(sock,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), sock:
            self._handle(sock)


class Wire:
    """One connection as the upstream sees it. ``received`` came from the gateway, ``sent`` went to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = 0
        self.sent = 0
        self.exchange = 0  # of both, before the tunnel
        self.username = ""

    def read(self, count: int) -> bytes:
        got = b""
        while len(got) < count:
            chunk = self.sock.recv(count - len(got))
            if not chunk:
                raise EOFError
            self.received += len(chunk)
            got += chunk
        return got

    def read_until(self, end: bytes) -> bytes:
        got = b""
        while not got.endswith(end):
            got += self.read(1)
        return got

    def send(self, payload: bytes) -> None:
        view = memoryview(payload)
        while view:
            sent = self.sock.send(view)
            self.sent += sent
            view = view[sent:]


class UpstreamProxy:
    """A forward proxy for ``protocol`` (http or socks5) that asks for USERNAME and PASSWORD and counts what it moves.

    ``answer`` replaces the handshake's good answer: it gets the wire once the target is known.
    """

    def __init__(self, protocol: str, answer: Callable[[Wire], bool] | None = None) -> None:
        self.protocol = protocol
        self.answer = answer
        self.wires: list[Wire] = []
        self.targets: list[tuple[str, int]] = []
        self.server = Server(self._serve)

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.__exit__(kind, error, at)

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def total(self) -> int:
        """All bytes on the raw sockets, both directions."""
        return sum(wire.received + wire.sent for wire in self.wires)

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock)
        self.wires.append(wire)
        target = self._http(wire) if self.protocol == "http" else self._socks5(wire)
        if target is None:
            return
        self.targets.append(target)
        if self.answer is not None and not self.answer(wire):
            return
        with socket.create_connection(("127.0.0.1", target[1]), timeout=TIMEOUT_S) as origin:
            origin.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.answer is None:
                self._agree(wire)
            wire.exchange = wire.received + wire.sent
            _relay(wire, origin)

    def _agree(self, wire: Wire) -> None:
        if self.protocol == "http":
            wire.send(b"HTTP/1.1 200 OK\r\nX-Proxy: test\r\n\r\n")
        else:
            wire.send(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")

    def _http(self, wire: Wire) -> tuple[str, int] | None:
        head = wire.read_until(b"\r\n\r\n").decode()
        expected = "Basic " + base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        if f"Proxy-Authorization: {expected}\r\n" not in head:
            wire.send(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        host, _, port = head.split(" ")[1].rpartition(":")
        return host, int(port)

    def _socks5(self, wire: Wire) -> tuple[str, int] | None:
        wire.read(1 + 1 + 1)
        wire.send(b"\x05\x02")
        _, length = wire.read(2)
        name = wire.read(length)
        secret = wire.read(wire.read(1)[0])
        good = (name.decode(), secret.decode()) == (USERNAME, PASSWORD)
        wire.send(b"\x01\x00" if good else b"\x01\x01")
        if not good:
            return None
        kind = wire.read(4)[3]
        if kind == 3:
            host = wire.read(wire.read(1)[0]).decode()
        else:
            host = socket.inet_ntop(socket.AF_INET if kind == 1 else socket.AF_INET6, wire.read(4 if kind == 1 else 16))
        return host, struct.unpack(">H", wire.read(2))[0]


def _relay(wire: Wire, origin: socket.socket) -> None:
    def up() -> None:
        with contextlib.suppress(OSError):
            while chunk := wire.sock.recv(1 << 16):
                wire.received += len(chunk)
                origin.sendall(chunk)
        with contextlib.suppress(OSError):
            origin.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=up, daemon=True)
    thread.start()
    with contextlib.suppress(OSError):
        while chunk := origin.recv(1 << 16):
            wire.send(chunk)
    with contextlib.suppress(OSError):
        wire.sock.shutdown(socket.SHUT_WR)
    thread.join(TIMEOUT_S)


def echo(sock: socket.socket) -> None:
    """An origin that sends back what it gets."""
    while chunk := sock.recv(1 << 16):
        sock.sendall(chunk)


def basic(username: str, token: str) -> str:
    return base64.b64encode(f"{username}:{token}".encode()).decode()


def http_connect(
    port: int, username: str, token: str, target: str, behind: bytes = b"", host: str = "127.0.0.1"
) -> socket.socket:
    """Sends a CONNECT (and ``behind`` in the same packet); does not read."""
    sock = socket.create_connection((host, port), timeout=TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {basic(username, token)}\r\n\r\n"
    sock.sendall(head.encode() + behind)
    return sock


def read_head(sock: socket.socket) -> str:
    """An HTTP answer's head, byte by byte so that nothing behind it is lost."""
    got = b""
    while not got.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise EOFError(got)
        got += byte
    return got.decode()


def read_exactly(sock: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        chunk = sock.recv(min(1 << 16, count - len(got)))
        if not chunk:
            raise EOFError(f"{len(got)} of {count} bytes")
        got += chunk
    return bytes(got)


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the end, or until the connection breaks."""
    got = bytearray()
    with contextlib.suppress(ConnectionError):
        while chunk := sock.recv(1 << 16):
            got += chunk
    return bytes(got)


def open_http(port: int, username: str, token: str, target: str, host: str = "127.0.0.1") -> socket.socket:
    sock = http_connect(port, username, token, target, host=host)
    head = read_head(sock)
    assert head.startswith("HTTP/1.1 200 "), head
    return sock


def open_socks5(port: int, username: str, token: str, target: str) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert socks5_reply(sock, username, token, target) == 0
    return sock


def socks5_reply(sock: socket.socket, username: str, token: str, target: str) -> int:
    """The whole SOCKS5 dialogue; the reply code of the request, or 0x100 when the credential was refused."""
    sock.sendall(b"\x05\x02\x00\x02")
    assert read_exactly(sock, 2) == b"\x05\x02"
    name, secret = username.encode(), token.encode()
    sock.sendall(bytes([1, len(name)]) + name + bytes([len(secret)]) + secret)
    if read_exactly(sock, 2) != b"\x01\x00":
        return 0x100
    host, _, port = target.rpartition(":")
    sock.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + int(port).to_bytes(2, "big"))
    return read_exactly(sock, 10)[1]


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Polls until ``condition`` holds; False when it did not within ``within_s``."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()
