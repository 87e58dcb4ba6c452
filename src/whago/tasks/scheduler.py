"""The scheduler (beat): sends the clocks' ticks to the queue, as a thread of a worker or as a process of its own.

It keeps no file: which clock is due is in the database (``clock_runs``), so that nothing can be corrupt or locked, any
number of schedulers may run, and a second tick for the same interval does nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import structlog
from celery import Celery
from celery.beat import ScheduleEntry, Scheduler, SchedulingError, Service
from kombu.exceptions import OperationalError

from whago.tasks.app import tick
from whago.tasks.clock import AnyClock
from whago.tasks.metrics import SchedulerMetrics

log = structlog.get_logger()

LONGEST_SLEEP_S: Final = 1  # between looks at the table, so that it stops soon


class SchedulerThread(threading.Thread):
    """Beat. When it ends without being told to, the process ends too, and whoever watches it starts it again."""

    def __init__(self, app: Celery, metrics: SchedulerMetrics, stopping: threading.Event) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._service = Service(
            app,
            max_interval=LONGEST_SLEEP_S,
            scheduler_cls=partial(_QuietScheduler, told=metrics.ticked),
            remote_control=False,
        )
        self._stopping = stopping

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

    def __init__(self, *arguments: Any, told: Callable[[str, bool], None], **named: Any) -> None:
        self._told = told
        super().__init__(*arguments, **named)

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            log.warning("scheduler.not_sent", clock=entry.name, reason=type(error.__cause__ or error).__name__)
            self._told(entry.name, False)
        else:
            self._told(entry.name, True)


def tick_at_start(app: Celery, clocks: Sequence[AnyClock], metrics: SchedulerMetrics) -> None:
    """The first tick of those clocks that do not wait for their first interval to pass."""
    for one in clocks:
        if not one.at_start:
            continue
        try:
            tick(app, one)
        except OperationalError:
            log.warning("scheduler.not_sent", clock=one.name, reason="broker")
            metrics.ticked(one.name, False)
        else:
            metrics.ticked(one.name, True)


def serve_scheduler(app: Celery, clocks: Sequence[AnyClock], metrics: SchedulerMetrics) -> int:
    """The scheduler alone, in the main thread's process: until SIGTERM or SIGINT. Returns the exit code."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    scheduler = SchedulerThread(app, metrics, stopping)
    scheduler.start()
    log.info("beat.ready", clocks=len(clocks))
    tick_at_start(app, clocks, metrics)
    stopping.wait()
    ended_early = not scheduler.is_alive()
    scheduler.stop()
    return 1 if ended_early else 0
