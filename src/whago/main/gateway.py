"""``whago gateway``: one metering gateway process, or several on one port."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from whago.domain.rules.egress import EgressPolicy
from whago.errors import SettingsError
from whago.gateway.config import GatewayConfig
from whago.gateway.control import ControlUnavailable
from whago.gateway.counters import SUFFIX, CounterFileFull
from whago.gateway.poller import run as run_on_its_loop
from whago.gateway.postgres import LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS, PostgresControl
from whago.gateway.server import serve
from whago.kit import db
from whago.kit import log as logging
from whago.kit.crypto import Vault
from whago.kit.ids import new_id
from whago.main.console import Console
from whago.main.data_folder import default_data_dir
from whago.main.embedded import free_port, port_is_free
from whago.main.leash import TryLater
from whago.main.secret import secret_keys
from whago.main.servers import wait_for_database
from whago.main.stopping import StopRequested, stop_requests
from whago.main.supervisor import STOP_BUDGET_S, Child, Spec, Supervisor
from whago.main.traces import trace
from whago.settings import Settings, load

log = structlog.get_logger()

LOOPBACK: Final = "127.0.0.1"
STATUS_PORT: Final = 9128  # of the first process; the next ones count up
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
REGISTER_RETRY_S: Final = 1.0  # the database may start after us
POOL_SIZE: Final = 8  # gate and ledger threads, all busy
SLEEP_S: Final = 3600.0  # the parent of several processes only waits; signals wake it


def run(
    *,
    host: str,
    port: int,
    processes: int = 1,
    status_port: int | None = STATUS_PORT,
    status_host: str = LOOPBACK,
    reuse_port: bool = False,
) -> None:
    """Serves until SIGTERM or SIGINT. ``status_port`` answers /healthz, /readyz and /metrics; None: nobody does.

    Raises SettingsError for what is missing or bad, before anything listens.
    """
    settings = load()
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: the gateway asks PostgreSQL who may leave.")
    logging.configure(settings.log_format, "gateway")
    wait_for_database(settings.database_url, settings.start_wait_s, migrated=True)
    if processes > 1:
        supervisor = Supervisor(Console(), STOP_BUDGET_S + settings.gateway_drain_s)
        _run_several(supervisor, host, port, processes, status_port, status_host)
        return
    trace(settings, "gateway")
    status = (status_host, _status_port(status_host, status_port))
    config = _config(settings, host, port, status, reuse_port=reuse_port)
    db.connect(
        settings.database_url,
        pool_size=POOL_SIZE,
        most=settings.database_connections,
        statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        lock_timeout_ms=LOCK_TIMEOUT_MS,
    )
    run_on_its_loop(_serve(settings, config))


def _status_port(host: str, wanted: int | None) -> int | None:
    """Several gateways may run on one machine: who finds the port taken answers on another, and says which."""
    if wanted is None or port_is_free(host, wanted):
        return wanted
    found = free_port()
    log.info("gateway.status_port_taken", wanted=wanted, port=found)
    return found


def _config(
    settings: Settings, host: str, port: int, status: tuple[str, int | None], *, reuse_port: bool
) -> GatewayConfig:
    try:
        egress = EgressPolicy(settings.egress_hosts, settings.egress_ports)
    except ValueError as error:
        raise SettingsError(f"WHAGO_EGRESS_HOSTS: {error}.") from None
    return GatewayConfig(
        counters_dir=(settings.data_dir or default_data_dir()) / "counters",
        host=host,
        port=port,
        status_host=status[0],
        status_port=status[1],
        egress=egress,
        allow_private_upstreams=settings.allow_private_upstreams,
        tz=settings.tz,
        drain_s=settings.gateway_drain_s,
        reuse_port=reuse_port,
    )


async def _serve(settings: Settings, config: GatewayConfig) -> None:
    assert settings.database_url is not None
    control = PostgresControl(
        new_id(), database_url=settings.database_url, vault=Vault(secret_keys(settings)), tz=settings.tz
    )
    structlog.contextvars.bind_contextvars(boot=str(control.boot_id))  # a tunnel's number counts within its boot
    await _register(control, config.port)
    try:
        await _serve_counted(config, control)
        if not (config.counters_dir / f"{control.boot_id}{SUFFIX}").exists():
            await _say_goodbye(control)
    finally:
        control.close()


async def _serve_counted(config: GatewayConfig, control: PostgresControl) -> None:
    """Raises TryLater when there is no room for the counters, without which not a byte may pass."""
    try:
        await serve(config, control)
    except CounterFileFull as error:
        raise TryLater(f"{error}. Make room there, or name another disk with WHAGO_DATA_DIR.") from None
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise TryLater(f"{config.counters_dir} cannot be written: {error.strerror}.") from None


async def _register(control: PostgresControl, port: int) -> None:
    """A gateway that cannot ask must not listen: it waits for the database."""
    while True:
        try:
            return await control.register(host=socket.gethostname(), pid=os.getpid(), port=port)
        except ControlUnavailable:
            await asyncio.sleep(REGISTER_RETRY_S)


async def _say_goodbye(control: PostgresControl) -> None:
    """Every byte is committed and every lease is back: the boot is settled. Unanswered, it looks silent for a while."""
    try:
        await control.settle(control.boot_id, [])
    except ControlUnavailable:
        return


def _run_several(
    supervisor: Supervisor, host: str, port: int, processes: int, status_port: int | None, status_host: str
) -> None:
    """Each process has its own boot, counters and leases; the kernel spreads connections over them (SO_REUSEPORT)."""
    with stop_requests(supervisor.hurry):
        try:
            children = [
                supervisor.start(_sibling(host, port, number, status_port, status_host)) for number in range(processes)
            ]
            signal.signal(signal.SIGHUP, lambda *_: _pass_on(children))
            while True:
                time.sleep(SLEEP_S)
        except StopRequested:
            pass
        finally:
            supervisor.stop()


def _sibling(host: str, port: int, number: int, status_port: int | None, status_host: str) -> Spec:
    argv = [sys.executable, "-P", "-m", "whago", "gateway", "--host", host, "--port", str(port), "--shared"]
    argv += ["--status-port", str(status_port + number if status_port else 0), "--status-host", status_host]
    return Spec(f"gateway-{number + 1}", argv, dict(os.environ))


def _pass_on(children: Sequence[Child]) -> None:
    """SIGHUP means: read the policy again. Every process has its own caches."""
    for pid in (child.pid for child in children):
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
