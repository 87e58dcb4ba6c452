"""``whago beat``: the scheduler of the clocks as a process of its own, for workers that run with ``--no-beat``."""

from __future__ import annotations

import sys
from typing import Final

import structlog

from whago.errors import SettingsError
from whago.kit import log as logging
from whago.main.servers import wait_for_broker
from whago.settings import load
from whago.tasks.app import make_beat_app
from whago.tasks.metrics import SchedulerMetrics
from whago.tasks.scheduler import serve_scheduler
from whago.tasks.status import LOOPBACK, StatusListener
from whago.tasks.table import all_clocks

STATUS_PORT: Final = 9149  # beside the worker's

log = structlog.get_logger()


def run(*, status_port: int = STATUS_PORT, status_host: str = LOOPBACK) -> None:
    """Sends ticks until SIGTERM or SIGINT. Needs the broker alone; raises SettingsError without one."""
    settings = load()
    if settings.broker_url is None:
        raise SettingsError("WHAGO_BROKER_URL is not set: the clocks tick over a Redis or Valkey server.")
    logging.configure(settings.log_format, "beat")
    wait_for_broker(settings.broker_url, settings.start_wait_s)
    wait_for_broker(settings.broker_url, settings.start_wait_s)
    metrics = SchedulerMetrics()
    clocks = all_clocks()
    with StatusListener(metrics, status_port, status_host) as status:
        log.info("beat.status", port=status.port)
        code = serve_scheduler(make_beat_app(settings.broker_url, clocks), clocks, metrics)
    sys.exit(code)
