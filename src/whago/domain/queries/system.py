"""How the product itself is: gateways, clocks, the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from whago.domain.models import ClockEntry, ClockRun, GatewayBoot, Plan
from whago.kit.db import reading

SHOWN_BOOTS = 50


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One life of one gateway process that has not settled yet."""

    id: UUID
    host: str
    pid: int
    port: int
    started_at: datetime
    last_seen_at: datetime
    stopped_at: datetime | None
    open_tunnels: int


LATE_AFTER: Final = 3  # intervals without a good run: one may be skipped, two are a stumble


@dataclass(frozen=True, slots=True)
class ClockState:
    """A clock of the table and how it has been. ``last_period``: the first day of the last day or month that was done.

    ``every_s`` and ``missed`` are None for a clock that only older workers have. ``is_late``: too long without success.
    """

    clock: str
    every_s: int | None
    period_kind: str | None
    missed: str | None
    last_started_at: datetime | None
    last_ended_at: datetime | None
    last_counts: dict[str, Any]
    last_error: str | None
    last_success_at: datetime | None
    last_period: date | None
    is_running: bool
    is_late: bool


@dataclass(frozen=True, slots=True)
class ClockView:
    """The last run of one periodic task."""

    clock: str
    started_at: datetime
    ended_at: datetime | None
    counts: dict[str, Any]
    error: str | None
    last_success_at: datetime | None


def gateways() -> list[GatewayView]:
    """The gateways that run, or died without settling; the latest sign of life first."""
    query = (
        select(GatewayBoot)
        .where(GatewayBoot.settled_at.is_(None))
        .order_by(GatewayBoot.last_seen_at.desc())
        .limit(SHOWN_BOOTS)
    )
    with reading() as db:
        return [
            GatewayView(
                boot.id,
                boot.host,
                boot.pid,
                boot.port,
                boot.started_at,
                boot.last_seen_at,
                boot.stopped_at,
                boot.open_tunnels,
            )
            for boot in db.scalars(query)
        ]


def clocks() -> list[ClockView]:
    """The last run of every clock, by name."""
    query = select(ClockRun).ext(distinct_on(ClockRun.clock)).order_by(ClockRun.clock, ClockRun.started_at.desc())
    with reading() as db:
        good = {clock: run.started_at for clock, run in _good_runs(db).items()}
        return [
            ClockView(run.clock, run.started_at, run.ended_at, run.counts, run.error, good.get(run.clock))
            for run in db.scalars(query)
        ]


def clock_states(*, now: datetime) -> list[ClockState]:
    """Every clock in the order of the table, also those that never ran; then what only older workers ran."""
    newest = select(ClockRun).ext(distinct_on(ClockRun.clock)).order_by(ClockRun.clock, ClockRun.started_at.desc())
    with reading() as db:
        entries = {one.name: one for one in db.scalars(select(ClockEntry).order_by(ClockEntry.position))}
        last = {run.clock: run for run in db.scalars(newest)}
        good = _good_runs(db)
    return [
        _state(name, entries.get(name), last.get(name), good.get(name), now)
        for name in [*entries, *sorted(set(last) - set(entries))]
    ]


def last_successes() -> dict[str, datetime]:
    """When the last good run of each clock began, in whatever worker."""
    with reading() as db:
        return {clock: run.started_at for clock, run in _good_runs(db).items()}


def _good_runs(db: Session) -> dict[str, ClockRun]:
    query = (
        select(ClockRun)
        .ext(distinct_on(ClockRun.clock))
        .where(ClockRun.ended_at.is_not(None), ClockRun.error.is_(None))
        .order_by(ClockRun.clock, ClockRun.started_at.desc())
    )
    return {run.clock: run for run in db.scalars(query)}


def _state(
    name: str, entry: ClockEntry | None, last: ClockRun | None, good: ClockRun | None, now: datetime
) -> ClockState:
    return ClockState(
        clock=name,
        every_s=entry.every_s if entry is not None else None,
        period_kind=entry.period if entry is not None else None,
        missed=entry.missed if entry is not None else None,
        last_started_at=last.started_at if last is not None else None,
        last_ended_at=last.ended_at if last is not None else None,
        last_counts=last.counts if last is not None else {},
        last_error=last.error if last is not None else None,
        last_success_at=good.started_at if good is not None else None,
        last_period=good.period if good is not None else None,
        is_running=last is not None and last.ended_at is None,
        is_late=entry is not None and _is_late(entry, last, good, now),
    )


def _is_late(entry: ClockEntry, last: ClockRun | None, good: ClockRun | None, now: datetime) -> bool:
    """A calendar clock has nothing to do for days or weeks; it is late while what it last tried is a failure."""
    if entry.period is not None:
        return last is not None and last.error is not None
    return good is None or now - good.started_at > timedelta(seconds=entry.every_s * LATE_AFTER)


def last_beat() -> datetime | None:
    """When the scheduler last started any clock; None before its first."""
    with reading() as db:
        return db.scalar(select(func.max(ClockRun.started_at)))


def has_schema() -> bool:
    """Whether the database answers and is migrated: the first thing that migrations leave is a default plan."""
    with reading() as db:
        return db.scalar(select(func.count()).where(Plan.is_default)) == 1
