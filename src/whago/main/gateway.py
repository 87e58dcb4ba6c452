"""``whago gateway``: one metering gateway process, or several on one port."""

from __future__ import annotations

import asyncio
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
from whago.gateway.counters import SUFFIX
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
from whago.main.secret import secret_keys
from whago.main.stopping import StopRequested, stop_requests
from whago.main.supervisor import Child, Spec, Supervisor
from whago.settings import Settings, load

log = structlog.get_logger()

STATUS_PORT: Final = 9128  # of the first process; the next ones count up
REGISTER_RETRY_S: Final = 1.0  # the database may start after us
POOL_SIZE: Final = 8  # gate and ledger threads, all busy
LOOPBACK: Final = "127.0.0.1"
SLEEP_S: Final = 3600.0  # the parent of several processes only waits; signals wake it


def run(
    *, host: str, port: int, processes: int = 1, status_port: int | None = STATUS_PORT, reuse_port: bool = False
) -> None:
    """Serves until SIGTERM or SIGINT. ``status_port`` answers /healthz, /readyz and /metrics on loopback; None: nobody.

    Raises SettingsError for what is missing or bad, before anything listens.
    """
    settings = load()
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: the gateway asks PostgreSQL who may leave.")
    if processes > 1:
        _run_several(host, port, processes, status_port)
        return
    logging.configure(settings.log_format, "gateway")
    status_port = _status_port(status_port)
    config = _config(settings, host, port, status_port, reuse_port=reuse_port)
    db.connect(
        settings.database_url,
        pool_size=POOL_SIZE,
        statement_timeout_ms=STATEMENT_TIMEOUT_MS,
        lock_timeout_ms=LOCK_TIMEOUT_MS,
    )
    run_on_its_loop(_serve(settings, config))


def _status_port(wanted: int | None) -> int | None:
    """Several gateways may run on one machine: who finds the port taken answers on another, and says which."""
    if wanted is None or port_is_free(LOOPBACK, wanted):
        return wanted
    found = free_port()
    log.info("gateway.status_port_taken", wanted=wanted, port=found)
    return found


def _config(settings: Settings, host: str, port: int, status_port: int | None, *, reuse_port: bool) -> GatewayConfig:
    try:
        egress = EgressPolicy(settings.egress_hosts, settings.egress_ports)
    except ValueError as error:
        raise SettingsError(f"WHAGO_EGRESS_HOSTS: {error}.") from None
    return GatewayConfig(
        counters_dir=(settings.data_dir or default_data_dir()) / "counters",
        host=host,
        port=port,
        status_host=LOOPBACK,
        status_port=status_port,
        egress=egress,
        allow_private_upstreams=settings.allow_private_upstreams,
        tz=settings.tz,
        reuse_port=reuse_port,
    )


async def _serve(settings: Settings, config: GatewayConfig) -> None:
    assert settings.database_url is not None
    control = PostgresControl(
        new_id(), database_url=settings.database_url, vault=Vault(secret_keys(settings)), tz=settings.tz
    )
    await _register(control, config.port)
    try:
        await serve(config, control)
        if not (config.counters_dir / f"{control.boot_id}{SUFFIX}").exists():
            await _say_goodbye(control)
    finally:
        control.close()


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


def _run_several(host: str, port: int, processes: int, status_port: int | None) -> None:
    """Each process has its own boot, counters and leases; the kernel spreads connections over them (SO_REUSEPORT)."""
    supervisor = Supervisor(Console())
    with stop_requests(supervisor.hurry):
        try:
            children = [supervisor.start(_sibling(host, port, number, status_port)) for number in range(processes)]
            signal.signal(signal.SIGHUP, lambda *_: _pass_on(children))
            while True:
                time.sleep(SLEEP_S)
        except StopRequested:
            pass
        finally:
            supervisor.stop()


def _sibling(host: str, port: int, number: int, status_port: int | None) -> Spec:
    argv = [sys.executable, "-P", "-m", "whago", "gateway", "--host", host, "--port", str(port), "--shared"]
    argv += ["--status-port", str(status_port + number if status_port else 0)]
    return Spec(f"gateway-{number + 1}", argv, dict(os.environ))


def _pass_on(children: Sequence[Child]) -> None:
    """SIGHUP means: read the policy again. Every process has its own caches."""
    for pid in (child.pid for child in children):
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGHUP)
