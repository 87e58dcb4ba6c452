"""``whago worker``: the clocks, with their scheduler unless that runs apart, as one process."""

from __future__ import annotations

import sys
from typing import Final

import structlog

from whago.domain.queries.system import last_successes
from whago.errors import SettingsError
from whago.kit import db
from whago.kit import log as logging
from whago.kit.crypto import Vault
from whago.main.data_folder import default_data_dir
from whago.main.engines import bridge_fleet, gateway_address
from whago.main.post import courier_of
from whago.main.secret import secret_keys
from whago.main.servers import wait_for_broker, wait_for_database
from whago.main.traces import trace
from whago.settings import load
from whago.tasks.app import make_app
from whago.tasks.clock import Tools
from whago.tasks.metrics import ClockMetrics
from whago.tasks.status import LOOPBACK, StatusListener
from whago.tasks.table import all_clocks
from whago.tasks.worker import serve

STATUS_PORT: Final = 9148  # /healthz, /readyz and /metrics; a free port when it is taken

log = structlog.get_logger()


def run(*, status_port: int = STATUS_PORT, status_host: str = LOOPBACK, beat: bool = True) -> None:
    """Works until SIGTERM or SIGINT. ``beat``: with a scheduler inside.

    Raises SettingsError for what is missing, before anything starts.
    """
    settings = load()
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: the clocks work on a PostgreSQL database.")
    if settings.broker_url is None:
        raise SettingsError("WHAGO_BROKER_URL is not set: the clocks tick over a Redis or Valkey server.")
    logging.configure(settings.log_format, "worker")
    trace(settings, "worker")
    wait_for_database(settings.database_url, settings.start_wait_s, migrated=True)
    wait_for_broker(settings.broker_url, settings.start_wait_s)
    db.connect(settings.database_url, most=settings.database_connections)
    tools = Tools(
        Vault(secret_keys(settings)),
        settings.tz,
        settings.allow_private_upstreams,
        bridge_fleet(settings),
        gateway_address(settings),
        settings.failover_grace_s,
        settings.probe_bytes_per_day,
        courier_of(settings),
        settings.data_dir or default_data_dir(),
        settings.ledger_months,
    )
    metrics = ClockMetrics(last_successes)
    clocks = all_clocks()
    app = make_app(settings.broker_url, clocks, tools, metrics)
    with StatusListener(metrics, status_port, status_host) as status:
        log.info("worker.status", port=status.port)
        code = serve(app, clocks, tools, metrics, beat=beat)
    sys.exit(code)
