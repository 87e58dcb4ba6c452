"""A real bridge (Node, Baileys) between a CONNECT proxy in the gateway's place and a stand-in of WhatsApp's edge."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest
import uvicorn

from tests.factories import make_chip, make_ready_pool, make_user
from tests.web.api_setup import config
from whago.bridge.client import BridgeClient
from whago.bridge.events import SIGNATURE_HEADER, TIMESTAMP_HEADER
from whago.bridge.fleet import BridgeFleet
from whago.domain.actions.bridges import beat_bridge
from whago.domain.models import Engine
from whago.kit import clock
from whago.main.embedded import free_port
from whago.main.node import BRIDGE_DIR, install_modules, node_binary
from whago.web.app import create_app

SECRET = "a-secret-of-the-tests-0123456789"
PHONE = "5511987654321"
EVENTS = "/internal/bridge/events"
Value = TypeVar("Value")
Server = TypeVar("Server", bound=socketserver.BaseServer)

PATIENCE_S = 150.0  # far above what anything here takes; only a failing test waits so long


def eventually(
    ask: Callable[[], Value], wanted: Callable[[Value], bool], what: str, patience_s: float = PATIENCE_S
) -> Value:
    """The first answer that is wanted. Fails with the last one when none comes."""
    deadline = time.monotonic() + patience_s
    while True:
        answer = ask()
        if wanted(answer):
            return answer
        assert time.monotonic() < deadline, f"waited in vain for {what}: {answer}"
        time.sleep(0.02)


@dataclass(frozen=True)
class PostedEvent:
    authorization: str | None
    timestamp: str | None
    signature: str | None
    body: bytes


class Backend:
    """The real web application behind a real port, on the tests' database; what is posted as an event is kept."""

    def __init__(self, **changes: Any) -> None:
        self.posted: list[PostedEvent] = []
        self.fleet = BridgeFleet(SECRET)
        self.app = create_app(config(bridge=self.fleet, bridge_secret=SECRET, **changes))
        self.port = free_port()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Again after ``stop``, for a backend that comes back at the same address."""
        server = uvicorn.Server(
            uvicorn.Config(
                self._keeping,
                host="127.0.0.1",
                port=self.port,
                log_level="error",
                interface="asgi3",
                timeout_graceful_shutdown=1,
            )
        )
        self._server = server
        self._thread = threading.Thread(target=server.run, daemon=True)
        self._thread.start()
        eventually(lambda: server.started, bool, "the web server")

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join()

    def close(self) -> None:
        self.stop()
        self.fleet.close()

    async def _keeping(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != EVENTS:
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        told = (headers.get(name.lower()) for name in ("Authorization", TIMESTAMP_HEADER, SIGNATURE_HEADER))
        self.posted.append(PostedEvent(*told, body))
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again() -> Any:
            return next(given, None) or await receive()

        await self.app(scope, again, send)


class Gateway(socketserver.ThreadingTCPServer):
    """Answers CONNECT with a tunnel to the edge, or with ``refusal`` (status, reason)."""

    daemon_threads = True
    refusal: tuple[int, str] | None = None

    def __init__(self, edge_port: int) -> None:
        self.edge_port = edge_port
        self.heads: list[bytes] = []
        super().__init__(("127.0.0.1", 0), _GatewayConnection)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def proxy_url(self, user: str = "chip") -> str:
        return f"http://{user}:sesame@{self.address}"


class _GatewayConnection(socketserver.BaseRequestHandler):
    server: Gateway
    request: socket.socket

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            part = self.request.recv(4096)
            if not part:
                return
            head += part
        self.server.heads.append(head)
        if self.server.refusal:
            status, reason = self.server.refusal
            self.request.sendall(f"HTTP/1.1 {status} No\r\nX-Gateway-Reason: {reason}\r\n\r\n".encode())
            return
        with socket.create_connection(("127.0.0.1", self.server.edge_port)) as upstream:
            self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with contextlib.suppress(OSError):
                _pump(self.request, upstream)


def _pump(client: socket.socket, upstream: socket.socket) -> None:
    while True:
        for ready in select.select([client, upstream], [], [])[0]:
            part = ready.recv(65536)
            if not part:
                return
            (upstream if ready is client else client).sendall(part)


@dataclass
class Edge:
    """The stand-in of WhatsApp's edge (bridge/test/stand-in/main.ts), by its control address."""

    port: int
    control_url: str
    ca_file: str
    noise_root: str

    def tell(self, command: str, **body: Any) -> dict[str, Any]:
        return dict(httpx.post(f"{self.control_url}/{command}", json=body, trust_env=False).raise_for_status().json())

    def state(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self.control_url}/state", trust_env=False).raise_for_status().json())


@dataclass
class BridgeProcess:
    """``process`` prints JSON lines; ``url`` is known once it is ready."""

    process: subprocess.Popen[str]
    url: str
    lines: list[str] = field(default_factory=list)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    with started_edge(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@contextlib.contextmanager
def started_edge(folder: Path) -> Iterator[Edge]:
    """The stand-in of WhatsApp's edge, as a process."""
    install_modules()
    process = subprocess.Popen(
        [node_binary(), BRIDGE_DIR / "test/stand-in/main.ts", folder], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    yield Edge(told["edge_port"], told["control_url"], told["ca_file"], told["noise_root"])
    process.terminate()
    process.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def gateway(edge: Edge) -> Iterator[Gateway]:
    yield from _serving(Gateway(edge.port))


@pytest.fixture(scope="module")
def backend(gateway: Gateway, postgres_url: str, _engine: None) -> Iterator[Backend]:
    backend = Backend(gateway_address=gateway.address)
    backend.start()
    yield backend
    backend.close()


def _serving(server: Server) -> Iterator[Server]:
    with server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def bridge(edge: Edge, gateway: Gateway, backend: Backend) -> Iterator[BridgeProcess]:
    started = start_bridge(edge, gateway.address, backend.url)
    yield started
    assert started.stop() == 0


def start_bridge(edge: Edge, gateway_address: str, backend_url: str, *flags: str, **changes: str) -> BridgeProcess:
    """A bridge on a free port that trusts the edge's certificate."""
    environment = {
        "PATH": os.environ["PATH"],
        "BRIDGE_PORT": "0",
        "BRIDGE_SECRET": SECRET,
        "BRIDGE_GATEWAY": gateway_address,
        "BRIDGE_BACKEND_URL": backend_url,
        "NODE_EXTRA_CA_CERTS": edge.ca_file,
        "NOISE_ROOT": edge.noise_root,
        **changes,
    }
    command: list[Path | str] = [
        node_binary(),
        *flags,
        "--import",
        BRIDGE_DIR / "test/preload/noise-root.ts",
        BRIDGE_DIR / "src/main.ts",
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready["event"] == "bridge.ready"
    bridge = BridgeProcess(process, f"http://127.0.0.1:{ready['port']}")
    threading.Thread(target=bridge.lines.extend, args=(process.stdout,), daemon=True).start()
    return bridge


def announce(bridge: BridgeProcess) -> None:
    """What its next sign of life would do, after the tables were emptied."""
    with BridgeClient(bridge.url, SECRET) as client:
        known = client.list()
    beat_bridge(
        known.boot_id, url=bridge.url, started_at=known.started_at, max_chips=200, is_draining=False, now=clock.now()
    )


def a_chip(plan: str = "enterprise") -> UUID:
    """A chip of a new customer, for our bridges; needs a pool."""
    return make_chip(make_user(plan), engine=Engine.BRIDGE).chip_id


@pytest.fixture
def client(bridge: BridgeProcess, gateway: Gateway, database: str) -> Iterator[BridgeClient]:
    """A client of a bridge without chips and of a gateway that tunnels; chips find a pool."""
    make_ready_pool()
    with BridgeClient(bridge.url, SECRET) as client:
        yield client
        gateway.refusal = None
        for chip in client.list().items:
            client.delete(chip.chip_id, logout=False)
