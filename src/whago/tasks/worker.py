"""One process that runs the clocks: a Celery worker on threads, with the scheduler as one more thread of it.

The scheduler keeps no file: which clock is due is in the database (``clock_runs``), so that nothing can be corrupt or
locked, any number of such processes may run, and a killed one leaves no scheduler behind.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections.abc import Sequence
from typing import Any, Final

import structlog
from celery import Celery, signals
from celery.beat import ScheduleEntry, Scheduler, SchedulingError, Service
from celery.exceptions import SecurityWarning
from kombu.exceptions import OperationalError

from whago.errors import WhagoError
from whago.tasks.app import tick
from whago.tasks.clock import AnyClock, Tools, register

log = structlog.get_logger()

THREADS: Final = 8  # more than there are clocks that take long
STOP_S: Final = 6.0  # what still runs then is left: its tick is delivered again, and every clock may be cut anywhere
LONGEST_SLEEP_S: Final = 1  # of the scheduler between looks at its table, so that it stops soon


def serve(app: Celery, clocks: Sequence[AnyClock], tools: Tools) -> int:
    """Runs until SIGTERM or SIGINT, in the main thread; returns the exit code."""
    scheduler = _SchedulerThread(app, tools)
    keep: dict[str, Any] = {"weak": False}

    def ready(**_: Any) -> None:
        log.info("worker.ready", clocks=len(clocks))
        _show(clocks)
        scheduler.start()
        _tick_at_start(app, clocks)

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


class _SchedulerThread(threading.Thread):
    """Beat. When it ends without being told to, the process ends too, and whoever watches it starts it again."""

    def __init__(self, app: Celery, tools: Tools) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._service = Service(app, max_interval=LONGEST_SLEEP_S, scheduler_cls=_QuietScheduler, remote_control=False)
        self._stopping = tools.stopping

    def run(self) -> None:
        try:
            self._service.start()
        finally:
            if not self._stopping.is_set():
                log.error("scheduler.ended")
                os.kill(os.getpid(), signal.SIGTERM)

    def stop(self) -> None:
        if self.is_alive():
            self._service.stop()


class _QuietScheduler(Scheduler):  # type: ignore[misc]
    """A tick that the broker did not take is a line in the log, not a trace: the next one comes by itself."""

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            log.warning("scheduler.not_sent", clock=entry.name, reason=type(error.__cause__ or error).__name__)


def _show(clocks: Sequence[AnyClock]) -> None:
    try:
        register(clocks)
    except WhagoError as error:  # they run all the same, as soon as there is a database
        log.warning("clocks.not_shown", reason=error.code)


def _tick_at_start(app: Celery, clocks: Sequence[AnyClock]) -> None:
    for one in clocks:
        if one.at_start:
            try:
                tick(app, one)
            except OperationalError:
                log.warning("scheduler.not_sent", clock=one.name, reason="broker")


def _leave_logging_alone(**_: Any) -> None:
    """A receiver of this signal means to Celery that logging is set up."""
