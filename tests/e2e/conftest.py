"""A live server on the test database and a real Chromium that looks at it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.conftest import SECRET
from tests.e2e.seeding import PASSWORD
from tests.factories import TZ
from whago.domain.models import User
from whago.main.chromium import obtain_chromium
from whago.web.app import create_app
from whago.web.config import WebConfig

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 30_000  # only a failing test waits so long


@dataclass(slots=True)
class LiveServer:
    """The product's web, served by uvicorn in a thread; ``stop`` and ``start`` make an outage."""

    port: int
    _server: uvicorn.Server | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        config = WebConfig(
            tz=TZ, secrets=(SECRET,), gateway_address="gateway.example.com:3128", allow_private_upstreams=True
        )
        self._server = uvicorn.Server(
            uvicorn.Config(
                create_app(config),
                host="127.0.0.1",
                port=self.port,
                log_level="error",
                lifespan="off",
                timeout_keep_alive=1,
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.02)

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()


@pytest.fixture(scope="session")
def _live_server(_engine: None) -> Iterator[LiveServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = LiveServer(probe.getsockname()[1])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def live(database: str, _live_server: LiveServer) -> LiveServer:
    """The server, on an emptied database."""
    return _live_server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one the run installs it or fails and says how to get it."""
    expect.set_options(timeout=PATIENCE_MS)  # five seconds, as by itself, are few on a busy machine
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(obtain_chromium()), args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@dataclass(slots=True)
class Complaints:
    """What a browser has against the pages: script errors, policy violations, requests to anybody else."""

    of: list[str] = field(default_factory=list)
    meant: list[str] = field(default_factory=list)

    def watch(self, page: Page, own_url: str) -> None:
        page.on("console", lambda message: self._heard(message))
        page.on("pageerror", lambda error: self.of.append(f"script: {error}"))
        page.on("request", lambda request: self._asked(request, own_url))

    def _heard(self, message: ConsoleMessage) -> None:
        # An answer of 4xx or 5xx to a form is said by the browser itself; whether it was meant is the test's business.
        known = ("Failed to load resource", *self.meant)
        if message.type in ("error", "warning") and not message.text.startswith(known):
            self.of.append(f"console: {message.text}")

    def _asked(self, request: Request, own_url: str) -> None:
        if not request.url.startswith((own_url, "data:", "blob:")):
            self.of.append(f"third party: {request.url}")


@dataclass(slots=True)
class Visits:
    """Opens pages for people; each visitor has a browser context of their own."""

    browser: Browser
    live: LiveServer
    complaints: Complaints
    _contexts: list[BrowserContext] = field(default_factory=list)

    def mean_failing_requests(self) -> None:
        """For tests that take the server, the sign-in or what is shown away: htmx then says so in the console."""
        self.complaints.meant += ["htmx:", "Response Status Error Code 40"]

    def anonymous(self, **options: object) -> Page:
        context = self.browser.new_context(
            **{"base_url": self.live.url, "locale": "pt-BR", "timezone_id": "America/Sao_Paulo"} | options  # type: ignore[arg-type]
        )
        context.set_default_timeout(PATIENCE_MS)
        self._contexts.append(context)
        page = context.new_page()
        self.complaints.watch(page, self.live.url)
        return page

    def signed_in(self, user: User, path: str = "/dashboard", **options: object) -> Page:
        """Through the API, as the form does, so that a test begins where it means to."""
        page = self.anonymous(**options)
        answer = page.request.post("/api/v1/auth/login", data={"email": user.email, "password": PASSWORD})
        assert answer.ok, answer.text()
        page.goto(path)
        return page

    def end(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def visits(browser: Browser, live: LiveServer) -> Iterator[Visits]:
    """Whatever the test does, no page may have complained in the end."""
    visits = Visits(browser, live, Complaints())
    yield visits
    visits.end()
    assert visits.complaints.of == []


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Waits until something is true."""

    def wait(is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while not is_so():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.05)

    return wait
