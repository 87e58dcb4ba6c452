"""The simulated provider inside this process, in a thread of its own: what tests and tools use.

::

    with SimulatedProvider(accounts=("demo:demo-password",)) as provider:
        url = provider.proxy_url("chip1")          # http://demo-session-chip1:demo-password@127.0.0.1:PORT
        provider.switch(refuse_connect=502)
        provider.session("chip1")["wire_total"]
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from whago.kit import clock
from whago.simulator.admin import changed_usage
from whago.simulator.dialect import ID_CHARS_MAX, ID_CHARS_MIN, IdRule
from whago.simulator.exits import EXIT_NETWORK
from whago.simulator.server import Addresses, ProviderServer
from whago.simulator.state import DEFAULT_ACCOUNT, DEFAULT_APP_KEY, ProviderSettings, ProviderState, UsageSettings
from whago.simulator.switches import ALL
from whago.simulator.targets import Pattern, TargetRule

CALL_S: Final = 10.0  # every call is a few microseconds of work in the loop; longer means that the thread is gone

Answer = TypeVar("Answer")


class SimulatedProvider:
    """A provider on loopback; use it as a context manager, or call :meth:`start` and :meth:`stop`.

    Ports default to free ones. ``targets`` are rules ``HOST[:PORT]=ADDRESS:PORT`` that come before the built-in names;
    ``reach`` are names ``HOST[:PORT]`` that are dialled for real.
    ``now`` is the provider's clock (aware), for tests of expiry and of days. All methods may be called from any thread.
    """

    def __init__(
        self,
        *,
        accounts: Sequence[str] = (DEFAULT_ACCOUNT,),
        targets: Sequence[str] = (),
        reach: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        admin_port: int = 0,
        socks_port: int | None = None,
        statics: int = 0,
        country: str = "BR",
        id_min: int = ID_CHARS_MIN,
        id_max: int = ID_CHARS_MAX,
        exit_network: str = EXIT_NETWORK,
        app_key: str = DEFAULT_APP_KEY,
        usage_lag_s: int = 0,
        overbill_percent: Decimal = Decimal(0),
        bytes_per_kb: int = 1024,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        id_rule = IdRule(id_min, id_max)
        settings = ProviderSettings(tuple(accounts), country, id_rule, statics, exit_network, app_key)
        self._state = ProviderState(settings, now, UsageSettings(usage_lag_s, overbill_percent, bytes_per_kb))
        addresses = Addresses(host, port, admin_port, socks_port)
        rules = [TargetRule.parse(text) for text in targets]
        self._server = ProviderServer(self._state, addresses, rules, [Pattern.parse(text) for text in reach])
        self._passwords = dict(pair.split(":", 1) for pair in accounts)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self.host = host
        self.port = 0
        self.admin_port = 0

    def start(self) -> Self:
        """Listen and return. Raises OSError for an address that is taken."""
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), name="simulated-provider", daemon=True)
        self._thread.start()
        started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Close everything and wait for it; harmless when already stopped."""
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def admin_url(self) -> str:
        """``http://127.0.0.1:PORT`` of the admin endpoint and usage API."""
        return f"http://127.0.0.1:{self.admin_port}"

    def proxy_url(self, session_id: str | None, account: str | None = None, scheme: str = "http") -> str:
        """The proxy URL of a sticky session (or of a rotating exit) of an account, the first one by default."""
        account = account or next(iter(self._passwords))
        username = account if session_id is None else f"{account}-session-{session_id}"
        password = quote(self._passwords[account], safe="")
        return f"{scheme}://{quote(username, safe='')}:{password}@{self.host}:{self.port}"

    def state(self) -> dict[str, Any]:
        """As ``GET /state``."""
        return self._call(lambda: {**self._server.ports(), **self._state.snapshot()})

    def sessions(self) -> list[dict[str, Any]]:
        """Every sticky session, last used first, as ``GET /sessions`` lists them."""
        return self._call(lambda: [sticky.as_dict() for sticky in reversed(list(self._state.stickies.all()))])

    def session(self, key: str) -> dict[str, Any]:
        """One sticky session by bare id or ``account:id``. Raises UnknownSticky."""
        return self._call(lambda: self._state.stickies.find(key).as_dict())

    def switch(self, scope: str = ALL, **changes: Any) -> None:
        """Set failure switches (see ``switches``); None unsets one. Raises SwitchError; OSError for a taken port."""

        def apply() -> None:
            self._state.board.set(scope, **changes)
            self._server.apply_port_switch()

        self._call(apply)

    def reset(self, scope: str | None = None) -> None:
        """Unset the switches of a scope, or all of them."""

        def apply() -> None:
            self._state.board.reset(scope)
            self._server.apply_port_switch()

        self._call(apply)

    def drift(self, key: str, country: str | None = None) -> str:
        """Change a session's exit IP silently; returns the new one."""
        return self._call(lambda: self._state.stickies.drift(key, self._state.now(), country).exit_ip)

    def duplicate(self, first: str, second: str) -> str:
        """Give the second session the exit IP of the first; returns it."""
        return self._call(lambda: self._state.stickies.duplicate(first, second, self._state.now()).exit_ip)

    def cut(self, scope: str = ALL) -> int:
        """End running tunnels with RST; how many."""
        return self._call(lambda: self._server.cut(scope))

    def set_usage(self, **changes: Any) -> None:
        """Change ``lag_s``, ``overbill_percent``, ``bytes_per_kb``, ``status`` of the usage API. Raises ValueError."""

        def apply() -> None:
            self._state.usage = changed_usage(self._state.usage, changes)

        self._call(apply)

    def origin_peers(self) -> dict[str, dict[str, int]]:
        """What the built-in origins saw of each exit IP."""
        return self._call(self._server.origins.peers)

    def static_list(self) -> list[str]:
        """Static proxies as ``host:port:user:pass``."""
        return self._call(self._server.static_list)

    def _call(self, work: Callable[[], Answer]) -> Answer:
        """Run ``work`` in the provider's loop, where alone its state may be touched."""
        if self._loop is None or self._thread is None or not self._thread.is_alive():
            raise RuntimeError("the simulated provider is not running")

        async def in_loop() -> Answer:
            return work()

        return asyncio.run_coroutine_threadsafe(in_loop(), self._loop).result(CALL_S)

    def _run(self, started: threading.Event) -> None:
        try:
            asyncio.run(self._serve(started))
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits in start()
            self._failure = failure
        finally:
            started.set()

    async def _serve(self, started: threading.Event) -> None:
        await self._server.start()
        self._loop = asyncio.get_running_loop()
        self.port, self.admin_port = self._server.port, self._server.admin_port
        started.set()
        await self._stopping.wait()
        await self._server.stop()
