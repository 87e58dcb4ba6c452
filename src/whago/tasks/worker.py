"""One process that runs the clocks: a Celery worker on threads, with the scheduler as one more thread if it is wanted.

A scheduler inside of the worker leaves nothing behind when the worker is killed; any number of both may run.
"""

from __future__ import annotations

import logging
import os
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Final

import structlog
from celery import Celery, signals
from celery.exceptions import SecurityWarning

from whago.errors import WhagoError
from whago.tasks.clock import AnyClock, Tools, register
from whago.tasks.metrics import ClockMetrics
from whago.tasks.scheduler import SchedulerThread, tick_at_start

log = structlog.get_logger()

THREADS: Final = 8  # more than there are clocks that take long
STOP_S: Final = 6.0  # what still runs then is left: its tick is delivered again, and every clock may be cut anywhere


def serve(app: Celery, clocks: Sequence[AnyClock], tools: Tools, metrics: ClockMetrics, *, beat: bool = True) -> int:
    """Runs until SIGTERM or SIGINT, in the main thread; returns the exit code. ``beat``: with a scheduler inside."""
    scheduler = SchedulerThread(app, metrics.scheduler, tools.stopping)
    keep: dict[str, Any] = {"weak": False}

    def ready(**_: Any) -> None:
        log.info("worker.ready", clocks=len(clocks), beat=beat)
        _show(clocks)
        if beat:
            scheduler.start()
            tick_at_start(app, clocks, metrics.scheduler)

    def shutting_down(**_: Any) -> None:
        tools.stopping.set()
        last = threading.Timer(STOP_S, os._exit, (0,))
        last.daemon = True
        last.start()

    signals.setup_logging.connect(_leave_logging_alone, **keep)
    signals.worker_ready.connect(ready, **keep)
    signals.worker_shutting_down.connect(shutting_down, **keep)
    warnings.filterwarnings("ignore", category=SecurityWarning)  # of being root: a container is, and only JSON is read
    worker = app.Worker(
        pool_cls="threads",
        concurrency=THREADS,
        loglevel=logging.WARNING,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    scheduler.stop()
    return int(worker.exitcode or 0)


def _show(clocks: Sequence[AnyClock]) -> None:
    try:
        register(clocks)
    except WhagoError as error:  # they run all the same, as soon as there is a database
        log.warning("clocks.not_shown", reason=error.code)


def _leave_logging_alone(**_: Any) -> None:
    """A receiver of this signal means to Celery that logging is set up."""
