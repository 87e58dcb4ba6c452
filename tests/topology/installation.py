"""A whole installation as an operator starts it: every part a command of its own, over servers that are not ours."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import urlsplit

import httpx

from tests.conftest import SECRET
from tests.spine.conftest import wait_until
from tests.topology.debian import HERE, Place
from whago.main.embedded import free_port

START_S: Final = 240.0  # of seven processes at once on a machine that does other things, too
HAPPENS_S: Final = 120.0
PROBE_S: Final = 5.0
ADMIN: Final = ("admin@whago.test", "the-administrators-password")
PASSWORD: Final = "the-customers-password"
BRIDGE_SECRET: Final = "a-secret-of-bridge-and-backend"
GB_PRICE: Final = Decimal("25.37")

_numbers = count(1)
_client = httpx.Client(trust_env=False, timeout=HAPPENS_S, limits=httpx.Limits(max_keepalive_connections=0))


class Part:
    """One process: ``whago`` with these arguments."""

    def __init__(
        self, arguments: Sequence[object], environment: dict[str, str], log: Path, place: Place = HERE
    ) -> None:
        self.log = log
        argv = [sys.executable, "-P", "-m", "whago", *arguments]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                place.command(*argv), env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def wait(self) -> int:
        return self.process.wait(START_S)

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Served:
    """A part that answers at ``address``: ``port`` is what it is for, ``status`` where it tells how it is."""

    part: Part
    address: str
    port: int
    status: int

    def is_ready(self) -> bool:
        assert self.part.lives, self.part.said
        try:
            url = f"http://{self.address}:{self.status}/readyz"
            return _client.get(url, timeout=PROBE_S).status_code == 200
        except httpx.TransportError:
            return False


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip on its customer's own engine, with what the API told once."""

    id: str
    token: str

    @property
    def credential(self) -> tuple[str, str]:
        return self.id, self.token


class Person:
    """Somebody who is signed in; ``web`` is the process that is asked, and may be another one each time."""

    def __init__(self, web: Served, email: str, password: str) -> None:
        self.id = ""
        self._headers: dict[str, str] = {}
        told = self.ask(web, "POST", "/auth/login", {"email": email, "password": password})
        self.id = told["user"]["id"]
        self._headers = {"Authorization": f"Bearer {told['tokens']['access_token']}"}

    def ask(self, web: Served, method: str, path: str, body: Any = None) -> Any:
        url = f"http://{web.address}:{web.port}/api/v1{path}"
        answer = _client.request(method, url, json=body, headers=self._headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def used_bytes(self, web: Served) -> int:
        return int(self.ask(web, "GET", "/user/proxy/usage")["bytes_used"])

    def new_chip(self, web: Served) -> Chip:
        made = self.ask(web, "POST", "/chips", {"alias": f"chip {next(_numbers)}", "engine": "external"})
        login = urlsplit(made["gateway"]["proxy_url"])
        return Chip(made["id"], login.password or "")


@dataclass
class Machines:
    """Which part runs where: everything here, unless a test says otherwise."""

    web: Place = HERE
    gateway: Place = HERE


@dataclass
class Installation:
    """A context manager: the database is migrated and has an administrator; parts run once they are asked for."""

    database_url: str
    broker_url: str
    folder: Path
    machines: Machines = field(default_factory=Machines)
    settings: dict[str, str] = field(default_factory=dict)
    log_to: Path | None = None
    parts: list[Part] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        assert self.run("migrate").wait() == 0, self.parts[-1].said
        made = self.run("create-admin", "--email", ADMIN[0], "--password", ADMIN[1])
        assert made.wait() == 0, made.said
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for part in self.parts:
            if part.lives:
                part.ask_to_stop()
        for part in self.parts:
            with contextlib.suppress(subprocess.TimeoutExpired):
                part.process.wait(20)
            part.kill()

    def web(self) -> Served:
        place, port = self.machines.web, free_port()
        return Served(self.run("web", "--host", place.address, "--port", port), place.address, port, port)

    def gateway(self, port: int = 0, data: str = "", drain_s: float = 5.0) -> Served:
        """Each has a data folder, so that nobody but its own next boot can settle its counters."""
        place, port, status = self.machines.gateway, port or free_port(), free_port()
        folder = data or str(self.folder / f"gateway-{port}")
        own = {"WHAGO_DATA_DIR": folder, "WHAGO_GATEWAY_DRAIN_S": str(drain_s)}
        asked = ("gateway", "--host", place.address, "--port", port, "--status-port", status)
        part = self.run(*asked, "--status-host", place.address, place=place, more=own)
        return Served(part, place.address, port, status)

    def worker(self, *, beat: bool = False) -> Served:
        return self._clockwork("worker", "--beat" if beat else "--no-beat")

    def beat(self) -> Served:
        return self._clockwork("beat")

    def bridge(self, backend: Served) -> Served:
        place, port = self.machines.web, free_port()
        more = {"WHAGO_BACKEND_URL": f"http://{backend.address}:{backend.port}"}
        part = self.run("bridge", "--host", place.address, "--port", port, more=more)
        return Served(part, place.address, port, port)

    def run(self, *arguments: object, place: Place | None = None, more: dict[str, str] | None = None) -> Part:
        name = f"{len(self.parts):02}-{arguments[0]}.log"
        environment = self.environment() | (more or {})
        log = self.log_to or self.folder / name
        part = Part(arguments, environment, log, place or self.machines.web)
        self.parts.append(part)
        return part

    def environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}
        return given | {
            "WHAGO_DATABASE_URL": self.database_url,
            "WHAGO_BROKER_URL": self.broker_url,
            "WHAGO_SECRET_KEY": SECRET,
            "WHAGO_DATA_DIR": str(self.folder / "data"),
            "WHAGO_BRIDGE_SECRET": BRIDGE_SECRET,
            "WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1",
            "WHAGO_LOG_FORMAT": "json",
            **self.settings,
        }

    def _clockwork(self, *arguments: object) -> Served:
        place, port = self.machines.web, free_port()
        part = self.run(*arguments, "--status-port", port, "--status-host", place.address)
        return Served(part, place.address, port, port)


def ready(*served: Served) -> None:
    """Returns when all of them say that they can serve."""
    for one in served:
        wait_until(one.is_ready, START_S)


def soon(condition: Callable[[], bool]) -> None:
    wait_until(condition, HAPPENS_S)


class Provider(Protocol):
    """What stands in for one."""

    @property
    def port(self) -> int: ...


class Office:
    """What the administrator does in such a test."""

    def __init__(self, web: Served, provider: Provider, host: str = "127.0.0.1", priority: int = 100) -> None:
        self.web = web
        self.admin = Person(web, *ADMIN)
        body = {
            "name": f"Provider {next(_numbers)}",
            "provider_type": "residential",
            "preset": "custom",
            "host": host,
            "port": provider.port,
            "protocol": "http",
            "username": "user",
            "password": "provider-password",
            "username_template": "{username}-session-{session}",
            "cost_per_gb": str(GB_PRICE),
            "priority": priority,
        }
        made = self.admin.ask(web, "POST", "/admin/proxies/providers", body)
        pool = {"provider_id": made["id"], "proxy_type": "rotating"}
        self.admin.ask(web, "POST", "/admin/proxies/pool", pool)
        self._provider_id = made["id"]

    def withdraw(self) -> None:
        """No chip gets this provider any more."""
        self.admin.ask(self.web, "PUT", f"/admin/proxies/providers/{self._provider_id}", {"is_active": False})

    def customer(self, limit_bytes: int | None = None) -> Person:
        """On a plan of its own."""
        number = next(_numbers)
        limit = None if limit_bytes is None else str(Decimal(limit_bytes) / 10**9)
        plan = {"name": f"Plan {number}", "slug": f"own-{number}", "price": "10", "max_chips": 100}
        made = self.admin.ask(self.web, "POST", "/admin/plans", plan | {"proxy_gb_limit": limit, "on_limit": "block"})
        email = f"customer{number}@example.com"
        user = {"name": f"Customer {number}", "email": email, "password": PASSWORD, "role": "user"}
        self.admin.ask(self.web, "POST", "/admin/users", user | {"plan_id": made["id"]})
        return Person(self.web, email, PASSWORD)


@contextmanager
def in_threads(*chips: threading.Thread) -> Iterator[None]:
    """They run meanwhile."""
    for chip in chips:
        chip.start()
    yield
    for chip in chips:
        chip.join(HAPPENS_S)
        assert not chip.is_alive()
