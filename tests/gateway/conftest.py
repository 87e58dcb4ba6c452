"""A gateway in a thread of its own, between real sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from uuid import UUID

import pytest
import structlog

from tests.gateway.control_double import TZ, Bank, Control
from tests.gateway.wire import PASSWORD, USERNAME, Server, UpstreamProxy, echo
from whago.domain.rules.egress import EgressPolicy
from whago.gateway import poller
from whago.gateway.config import GatewayConfig, Limits
from whago.gateway.control import Upstream
from whago.gateway.server import Gateway


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Only warnings: a test opens hundreds of tunnels."""
    with structlog.testing.capture_logs():
        yield


class RunningGateway:
    """Starts on entering; stops (drains) on leaving. ``call`` runs something on its loop."""

    def __init__(self, config: GatewayConfig, control: Control) -> None:
        self.config = config
        self.control = control
        self._thread = threading.Thread(target=lambda: poller.run(self._main()), daemon=True)
        self._ready = threading.Event()
        self.failure: BaseException | None = None
        self.gateway: Gateway

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        if self.failure is not None:
            raise self.failure
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        if self._thread.is_alive():
            self.ask_to_stop()
            self._thread.join(15)
        assert not self._thread.is_alive()

    def ask_to_stop(self) -> None:
        self._loop.call_soon_threadsafe(self.gateway.ask_to_stop)

    def call(self, function: Callable[[], Any]) -> Any:
        """The result of ``function``, run between two turns of the gateway's loop."""

        async def run() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    @property
    def port(self) -> int:
        return self.gateway.address[1]

    @property
    def open_tunnels(self) -> int:
        return self.gateway.plane.tally.open_tunnels

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        try:
            self.gateway = Gateway(self.config, self.control)
            await self.gateway.start()
            self._ready.set()
            try:
                await self.gateway.run()
            finally:
                await self.gateway.stop()
        except BaseException as error:  # noqa: BLE001 told to the test's thread
            self.failure = error
            self._ready.set()


class Rig:
    """A bank, upstream proxies, an echo origin, and gateways between them."""

    def __init__(self, folder: Path, splice: bool) -> None:
        self.stack = ExitStack()
        self.bank = Bank()
        self.splice = splice
        self.counters_dir = folder
        self.origin = self.serve(echo)
        self._upstreams: dict[str, UpstreamProxy] = {}

    def serve(self, handle: Callable[[Any], None]) -> Server:
        return self.stack.enter_context(Server(handle))

    def upstream(self, protocol: str = "http", **kwargs: Any) -> UpstreamProxy:
        return self.stack.enter_context(UpstreamProxy(protocol, **kwargs))

    def gateway(self, limits: Limits | None = None, ports: tuple[int, ...] = (), **settings: Any) -> RunningGateway:
        config = GatewayConfig(
            counters_dir=self.counters_dir,
            port=0,
            egress=EgressPolicy(["localhost", "127.0.0.1"], [self.origin.port, *ports]),
            allow_private_upstreams=True,
            tz=TZ,
            limits=limits or Limits(),
            drain_s=0.2,
            report_every_s=0.05,
            splice=self.splice,
            handle_signals=False,
        )
        running = RunningGateway(replace(config, **settings), Control(self.bank))
        return self.stack.enter_context(running)

    def chip(self, upstream: UpstreamProxy, user_id: UUID | None = None) -> tuple[str, UUID]:
        """A new chip behind ``upstream``: its user name and its user's id. The token is "token"."""
        protocol: Literal["http", "socks5"] = "http" if upstream.protocol == "http" else "socks5"
        way = Upstream(protocol, "127.0.0.1", upstream.port, USERNAME, PASSWORD)
        chip_pass = self.bank.add_chip(way, user_id)
        return str(chip_pass.chip_id), chip_pass.user_id

    def target(self, server: Server | None = None) -> str:
        return f"localhost:{(server or self.origin).port}"


@pytest.fixture(params=[True, False], ids=["splice", "plain"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Every test runs with splice and without it."""
    rig = Rig(tmp_path, request.param)
    with rig.stack:
        yield rig
    assert rig.bank.broken_invariants == []


@pytest.fixture
def plain_rig(tmp_path: Path) -> Iterator[Rig]:
    """For what has nothing to do with moving bytes."""
    rig = Rig(tmp_path, True)
    with rig.stack:
        yield rig
    assert rig.bank.broken_invariants == []
