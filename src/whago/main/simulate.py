"""``whago simulate-provider``: the simulated provider as a process."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from decimal import Decimal
from typing import Final

from whago.kit import clock, log
from whago.settings import load
from whago.simulator.dialect import ID_CHARS_MAX, ID_CHARS_MIN, IdRule
from whago.simulator.exits import EXIT_NETWORK
from whago.simulator.server import Addresses, ProviderServer
from whago.simulator.state import DEFAULT_ACCOUNT, DEFAULT_APP_KEY, ProviderSettings, ProviderState, UsageSettings
from whago.simulator.targets import Pattern, TargetRule

FILES_WANTED: Final = 32_768  # two sockets per tunnel and room for a herd


def run(
    host: str = "127.0.0.1",
    port: int = 3120,
    admin_port: int = 3121,
    socks_port: int | None = None,
    account: list[str] | None = None,
    target: list[str] | None = None,
    reach: list[str] | None = None,
    static: int = 0,
    country: str = "BR",
    id_min: int = ID_CHARS_MIN,
    id_max: int = ID_CHARS_MAX,
    exit_network: str = EXIT_NETWORK,
    app_key: str = DEFAULT_APP_KEY,
    usage_lag_s: int = 0,
    overbill_percent: Decimal = Decimal(0),
    bytes_per_kb: int = 1024,
) -> None:
    """Serve until SIGTERM or SIGINT.

    ``account`` holds ``username:password`` pairs, ``target`` rules ``HOST[:PORT]=ADDRESS:PORT``, ``reach`` names
    ``HOST[:PORT]`` that are dialled for real. Raises ValueError for a bad argument and OSError for a port that is
    taken, both before anything is served.
    """
    log.configure(load().log_format, "simulator")
    settings = ProviderSettings(
        tuple(account or [DEFAULT_ACCOUNT]), country, IdRule(id_min, id_max), static, exit_network, app_key
    )
    state = ProviderState(settings, clock.now, UsageSettings(usage_lag_s, overbill_percent, bytes_per_kb))
    rules = [TargetRule.parse(text) for text in target or []]
    reached = [Pattern.parse(text) for text in reach or []]
    _raise_file_limit()
    asyncio.run(_serve(ProviderServer(state, Addresses(host, port, admin_port, socks_port), rules, reached)))


async def _serve(server: ProviderServer) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await server.start()
    _announce(server)
    await stopping.wait()
    await server.stop()


def _announce(server: ProviderServer) -> None:
    ports = server.ports()
    print(f"simulated provider ready: proxy {ports['host']}:{ports['port']} (HTTP CONNECT and SOCKS5),", end=" ")
    print(f"admin http://127.0.0.1:{ports['admin_port']}", flush=True)
    for line in server.static_list():
        print(line, flush=True)


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # what the machine does not give, the accept loop waits for
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES_WANTED, hard), hard))
