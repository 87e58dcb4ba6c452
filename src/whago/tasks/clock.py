"""A clock: something that is done again and again, by one worker at a time, with every run on record.

A ``Clock`` has an interval, and a run that was missed is skipped: each run does whatever is to be done at its time. A
``CalendarClock`` runs once for each day or month that has ended, and says what becomes of those it missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy.exc import DBAPIError

from whago.domain.actions.clock_runs import begin_run, end_run, last_period, only_one, register_clocks
from whago.domain.models import ClockEntry
from whago.domain.rules.periods import Missed, Period, due_periods
from whago.errors import WhagoError
from whago.kit import clock as wall
from whago.kit import tracing
from whago.kit.crypto import Vault
from whago.notify.courier import Courier
from whago.tasks.metrics import ClockMetrics

if TYPE_CHECKING:
    from whago.bridge.fleet import BridgeFleet  # and an HTTP client with it, which most clocks never need

log = structlog.get_logger()

NOT_WITHIN: Final = 0.8  # of the interval: several workers may tick for the same clock, and ticks come a bit early

Counts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Tools:
    """What the clocks work with. ``gateway_address``: host:port that chips dial.

    ``failover_grace_s``: how long a chip is held whose exit is gone. ``probe_bytes_per_day``: for health probes.

    ``courier`` takes alerts to e-mail addresses and webhooks.

    ``data_dir``: where old months of the ledger go; ``ledger_months``: how many stay, the running one included.

    ``stopping`` is set when the worker shall end: long work leaves at its next step.
    """

    vault: Vault
    tz: ZoneInfo
    allow_private_upstreams: bool = False
    bridge: BridgeFleet | None = None
    gateway_address: str = "127.0.0.1:3128"
    failover_grace_s: float = 30.0
    probe_bytes_per_day: int = 50_000_000
    courier: Courier | None = None
    data_dir: Path | None = None
    ledger_months: int = 13
    stopping: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Clock:
    """``work`` gets the tools and the time and returns what it counted. A tick that nobody took in time is dropped."""

    name: str
    every_s: int
    work: Callable[[Tools, datetime], Counts]
    at_start: bool = False

    @property
    def period(self) -> None:
        """None: an interval, not a calendar."""

    @property
    def missed(self) -> Missed:
        return Missed.SKIP


@dataclass(frozen=True, slots=True)
class CalendarClock:
    """``work`` gets the first day of the period, too. ``every_s``: how often is looked whether a period is due.

    ``grace``: how long after its end a period waits for late reports. A failed run is tried again at the next tick.
    """

    name: str
    every_s: int
    work: Callable[[Tools, datetime, date], Counts]
    period: Period
    missed: Missed
    grace: timedelta = timedelta()
    at_start: bool = True


AnyClock = Clock | CalendarClock


def register(clocks: Sequence[AnyClock]) -> None:
    """Shows administrators the table. Raises WhagoError("unavailable") without a database."""
    register_clocks(
        [
            ClockEntry(name=one.name, position=position, every_s=one.every_s, period=one.period, missed=one.missed)
            for position, one in enumerate(clocks)
        ]
    )


class Outcome(StrEnum):
    """How a tick ended. All but the last prove that scheduler, worker and database work."""

    DONE = "done"
    FAILED = "failed"
    OVERLAP = "overlap"
    NOT_DUE = "not_due"
    NO_DATABASE = "no_database"


def run_clock(one: AnyClock, tools: Tools, metrics: ClockMetrics) -> Outcome:
    """One tick. Never raises: what goes wrong is recorded, and the next tick comes."""
    try:
        with only_one(one.name) as is_mine:
            outcome = _run_what_is_due(one, tools, metrics) if is_mine else Outcome.OVERLAP
    except WhagoError as error:
        log.warning("clock.no_database", clock=one.name, reason=error.code)
        outcome = Outcome.NO_DATABASE
    metrics.ticked(one.name, outcome, reached_database=outcome is not Outcome.NO_DATABASE)
    return outcome


def _run_what_is_due(one: AnyClock, tools: Tools, metrics: ClockMetrics) -> Outcome:
    if isinstance(one, Clock):
        not_within = timedelta(seconds=one.every_s * NOT_WITHIN)
        return _run(one.name, lambda now: one.work(tools, now), metrics, not_within=not_within)
    outcome = Outcome.NOT_DUE
    due = due_periods(
        one.period, last_period(one.name), now=wall.now(), tz=tools.tz, grace=one.grace, missed=one.missed
    )
    for first_day in due:
        if tools.stopping.is_set():
            break
        outcome = _run(one.name, partial(_for_period, one.work, tools, first_day), metrics, period=first_day)
        if outcome is not Outcome.DONE:
            break  # the next tick begins with this one again
    return outcome


def _for_period(work: Callable[[Tools, datetime, date], Counts], tools: Tools, period: date, now: datetime) -> Counts:
    return work(tools, now, period)


def _run(
    name: str,
    work: Callable[[datetime], Counts],
    metrics: ClockMetrics,
    *,
    not_within: timedelta = timedelta(),
    period: date | None = None,
) -> Outcome:
    began = wall.now()
    run_id = begin_run(name, now=began, not_within=not_within, period=period)
    if run_id is None:
        return Outcome.NOT_DUE
    counts: Counts = {}
    told = None
    try:
        with tracing.span(f"clock {name}") as span:
            counts = work(began)
            span.note(counts)
    except Exception as error:  # a bug in one clock must not silence it for ever, nor the other clocks
        told = _told(error)
        log.error("clock.failed", clock=name, reason=told, exc_info=not isinstance(error, WhagoError))
    ended = wall.now()
    end_run(run_id, counts=counts, error=told, now=ended)
    if told is not None:
        return Outcome.FAILED
    metrics.succeeded(name, began, ended, counts)
    return Outcome.DONE


def _told(error: Exception) -> str:
    """Short and without parameters of statements, which may hold what is sealed or hashed."""
    if isinstance(error, WhagoError):
        return error.code
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return f"{type(cause).__name__}: {str(cause).partition(chr(10))[0]}"
