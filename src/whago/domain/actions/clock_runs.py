"""Runs of the clocks: one at a time over all workers, each recorded, old records removed.

The table is also the scheduler's memory: a clock that ran a moment ago, in whatever worker, is not due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from whago.domain.models import ClockEntry, ClockRun
from whago.errors import WhagoError
from whago.kit.db import engine, transaction

KEEP_RUNS: Final = timedelta(hours=6)  # a heartbeat every ten seconds is 2,000 rows in that time
KEEP_FAILURES: Final = timedelta(days=14)  # long enough to look into them after a holiday
ERROR_CHARS_MAX: Final = 500
LOST: Final = "the worker ended before the run did"

_TAKE: Final = text("SELECT pg_try_advisory_lock(hashtextextended(:key, 0))")
_GIVE: Final = text("SELECT pg_advisory_unlock(hashtextextended(:key, 0))")


@contextmanager
def only_one(clock: str) -> Iterator[bool]:
    """Whether this process may run the clock now. The database frees the lock when the process dies.

    Raises WhagoError("unavailable") when the database cannot be reached.
    """
    key = {"key": f"clock:{clock}"}
    try:
        connection = engine().connect().execution_options(isolation_level="AUTOCOMMIT")
    except (OperationalError, PoolTimeoutError) as error:
        raise WhagoError("unavailable", part="database") from error
    try:
        taken = bool(connection.scalar(_TAKE, key))
        try:
            yield taken
        finally:
            if taken:
                connection.execute(_GIVE, key)
    except DBAPIError as error:
        connection.invalidate()  # closes it, which frees the lock
        raise WhagoError("unavailable", part="database") from error
    finally:
        connection.close()


def begin_run(clock: str, *, now: datetime, not_within: timedelta, period: date | None = None) -> int | None:
    """Call it while ``only_one`` holds. None: the clock has run well within ``not_within``, so it is not due.

    ``period``: the first day of the day or month that a calendar clock runs for.
    A run that stands open is one whose worker died, since only one may run: it is closed as lost.
    """
    with transaction() as db:
        last = db.scalars(
            select(ClockRun).where(ClockRun.clock == clock).order_by(ClockRun.started_at.desc(), ClockRun.id.desc())
            .limit(1).with_for_update()
        ).one_or_none()  # fmt: skip
        if last is not None and last.ended_at is None:
            last.ended_at, last.error = now, LOST
        is_fresh = last is not None and last.error is None and now - not_within < last.started_at <= now
        if period is None and is_fresh:
            return None
        run = ClockRun(clock=clock, started_at=now, period=period)
        db.add(run)
        db.flush()
        return run.id


def end_run(run_id: int, *, counts: Mapping[str, Any], error: str | None, now: datetime) -> None:
    """``counts`` are plain JSON values; ``error`` is short and holds no secret."""
    with transaction() as db:
        run = db.get(ClockRun, run_id)
        if run is not None:
            run.ended_at, run.counts = now, dict(counts)
            run.error = error[:ERROR_CHARS_MAX] if error else None


def last_success(clock: str) -> datetime | None:
    """When the clock's last good run began."""
    with transaction() as db:
        return db.scalar(
            select(ClockRun.started_at)
            .where(ClockRun.clock == clock, ClockRun.ended_at.is_not(None), ClockRun.error.is_(None))
            .order_by(ClockRun.started_at.desc())
            .limit(1)
        )


def last_period(clock: str) -> date | None:
    """The newest period that a calendar clock has done."""
    with transaction() as db:
        return db.scalar(
            select(func.max(ClockRun.period)).where(
                ClockRun.clock == clock, ClockRun.ended_at.is_not(None), ClockRun.error.is_(None)
            )
        )


def register_clocks(entries: Sequence[ClockEntry]) -> None:
    """Puts the table of clocks where people see it; those that are gone leave it, and their last runs with them."""
    names = [one.name for one in entries]
    with transaction() as db:
        db.execute(delete(ClockEntry).where(ClockEntry.name.not_in(names)))
        for one in entries:
            db.merge(one)


def trim_runs(*, now: datetime) -> int:
    """Removes old records but the last good run of each clock; returns how many."""
    good = ClockRun.ended_at.is_not(None) & ClockRun.error.is_(None)
    last_good = select(func.max(ClockRun.id)).where(good).group_by(ClockRun.clock)
    with transaction() as db:
        removed = db.scalars(
            delete(ClockRun)
            .where(
                (good & (ClockRun.started_at < now - KEEP_RUNS))
                | (~good & (ClockRun.started_at < now - KEEP_FAILURES)),
                ClockRun.id.not_in(last_good),
            )
            .returning(ClockRun.id)
        )
        return len(removed.all())
