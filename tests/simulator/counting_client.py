"""A raw client and a raw origin that share no code with the simulator and count every byte themselves."""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from whago.simulator import SimulatedProvider

PASSWORD = "demo-password"
TIMEOUT_S = 20.0


class CountingClient:
    """One TCP connection; ``sent`` and ``received`` are what the wire carried."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.sock = socket.create_connection((host, port), timeout=TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0
        self.received = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def send(self, payload: bytes) -> None:
        self.sock.sendall(payload)
        self.sent += len(payload)

    def read(self, count: int) -> bytes:
        got = bytearray()
        while len(got) < count:
            chunk = self.sock.recv(min(1 << 20, count - len(got)))
            if not chunk:
                raise EOFError(f"{len(got)} of {count} bytes, then the end")
            got += chunk
            self.received += len(chunk)
        return bytes(got)

    def read_to_end(self) -> bytes:
        got = bytearray()
        while chunk := self.sock.recv(1 << 20):
            got += chunk
            self.received += len(chunk)
        return bytes(got)

    def read_head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.read(1)
        return head

    def read_response(self) -> tuple[int, bytes]:
        """Status and body of an HTTP response with a Content-Length."""
        head = self.read_head()
        status = int(head.split(b" ")[1])
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                return status, self.read(int(line.split(b":")[1]))
        return status, b""

    def connect(self, username: str, target: str, password: str = PASSWORD) -> int:
        """HTTP CONNECT; returns the status."""
        self.send(connect_head(username, target, password))
        return self.read_response()[0]

    def socks_connect(self, username: str, host: str, port: int, password: str = PASSWORD) -> int:
        """SOCKS5 with a name as target; returns the reply code, 255 when the authentication failed."""
        self.send(b"\x05\x01\x02")
        assert self.read(2) == b"\x05\x02"
        name, secret = username.encode(), password.encode()
        self.send(b"\x01" + bytes([len(name)]) + name + bytes([len(secret)]) + secret)
        if self.read(2) != b"\x01\x00":
            return 255
        self.send(b"\x05\x01\x00\x03" + bytes([len(host)]) + host.encode() + port.to_bytes(2, "big"))
        return self.read(10)[1]


def connect_head(username: str, target: str, password: str = PASSWORD) -> bytes:
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {token}\r\n\r\n".encode()


class EchoOrigin:
    """Echoes on loopback and remembers which addresses came."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        origin = self

        class Echo(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                origin.peers.append(self.client_address[0])
                while chunk := self.request.recv(1 << 16):
                    self.request.sendall(chunk)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A tunnel that was reset on purpose is no news."""

        self._server = Server(("127.0.0.1", 0), Echo)
        self.target = f"127.0.0.1:{self._server.server_address[1]}"
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def seen_ip(provider: SimulatedProvider, username: str) -> str:
    """The exit IP of a username as the ip-check page tells it."""
    return str(seen_place(provider, username)["ip"])


def seen_place(provider: SimulatedProvider, username: str) -> dict[str, Any]:
    with CountingClient(provider.port) as client:
        assert client.connect(username, "ip.simulated.test:80") == 200
        client.send(b"GET /json HTTP/1.1\r\nHost: ip.simulated.test\r\nConnection: close\r\n\r\n")
        status, body = client.read_response()
        assert status == 200
        place: dict[str, Any] = json.loads(body)
        return place


def admin(provider: SimulatedProvider, method: str, path: str, **options: Any) -> httpx.Response:
    return httpx.request(method, provider.admin_url + path, trust_env=False, timeout=TIMEOUT_S, **options)


def eventually(check: Callable[[], bool], patience_s: float = 10.0) -> None:
    """Wait for what another thread is about to do; fails when it never does."""
    deadline = time.monotonic() + patience_s
    while not check():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
