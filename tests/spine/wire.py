"""The wire as seen from outside: a relay that counts, and raw clients. Nothing here shares code with the product."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from types import TracebackType
from typing import Self

TIMEOUT_S = 30.0
CHUNK_BYTES = 1 << 16


class CountingRelay:
    """Stands between gateway and provider, and counts what crosses, byte by byte, in both directions."""

    def __init__(self, upstream_port: int) -> None:
        self.up = 0
        self.down = 0
        self._lock = threading.Lock()
        self._upstream_port = upstream_port
        self._server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def total(self) -> int:
        with self._lock:
            return self.up + self.down

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", self._upstream_port))
            for source, target, way in ((client, upstream, "up"), (upstream, client, "down")):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, target, way), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                with self._lock:
                    setattr(self, way, getattr(self, way) + len(chunk))
                target.sendall(chunk)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


class Refused(Exception):
    """The gateway's answer, when it was not 200."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


class Tunnel:
    """A raw client's tunnel through the gateway to an HTTP/1.1 origin."""

    def __init__(self, sock: socket.socket, host: str) -> None:
        self.sock = sock
        self.host = host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def get(self, path: str) -> bytes:
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        return self._answer()

    def post(self, path: str, body: bytes) -> bytes:
        head = f"POST {path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.sock.sendall(head.encode() + body)
        return self._answer()

    def _answer(self) -> bytes:
        head = read_head(self.sock)
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
        return read_exactly(self.sock, int({k.lower(): v for k, v in fields.items()}["content-length"]))


def connect(gateway_port: int, chip_id: object, token: str, host: str, port: int = 443) -> Tunnel:
    """HTTP CONNECT. Raises Refused."""
    sock = socket.create_connection(("127.0.0.1", gateway_port), timeout=TIMEOUT_S)
    login = base64.b64encode(f"{chip_id}:{token}".encode()).decode()
    sock.sendall(
        f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\nProxy-Authorization: Basic {login}\r\n\r\n".encode()
    )
    head = read_head(sock).decode()
    status = int(head.split(" ")[1])
    if status != 200:
        sock.close()
        reasons = [line.split(": ")[1] for line in head.split("\r\n") if line.lower().startswith("x-gateway-reason")]
        raise Refused(status, reasons[0])
    return Tunnel(sock, host)


def socks5(gateway_port: int, chip_id: object, token: str, host: str, port: int = 443) -> Tunnel:
    """SOCKS5 with user and password (RFC 1928, RFC 1929). Raises Refused with the reply code."""
    sock = socket.create_connection(("127.0.0.1", gateway_port), timeout=TIMEOUT_S)
    user, password = str(chip_id).encode(), token.encode()
    sock.sendall(b"\x05\x01\x02")
    assert read_exactly(sock, 2) == b"\x05\x02"
    sock.sendall(b"\x01" + bytes([len(user)]) + user + bytes([len(password)]) + password)
    if read_exactly(sock, 2)[1] != 0:
        sock.close()
        raise Refused(1, "authentication")
    sock.sendall(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + struct.pack(">H", port))
    reply = read_exactly(sock, 4)
    read_exactly(sock, {1: 6, 4: 18}[reply[3]])
    if reply[1] != 0:
        sock.close()
        raise Refused(reply[1], "socks")
    return Tunnel(sock, host)


def read_exactly(sock: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        chunk = sock.recv(min(CHUNK_BYTES, count - len(got)))
        if not chunk:
            raise EOFError(f"{len(got)} of {count} bytes, then the end")
        got += chunk
    return bytes(got)


def read_head(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise EOFError(f"the end after {head!r}")
        head += byte
    return head
