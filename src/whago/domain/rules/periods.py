"""Clocks that run once for each day or month: which periods are due, and what becomes of those that were missed."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from whago.domain.rules.months import next_month, previous_month

CAUGHT_UP_AT_ONCE = 31  # periods that one tick works off: a month of days; the next tick goes on


class Period(StrEnum):
    """Of the billing time zone. A period is named by its first day."""

    DAY = "day"
    MONTH = "month"


class Missed(StrEnum):
    """What becomes of runs that did not happen.

    SKIP: the next run does all that they would have done. CATCH_UP: each missed period gets its run, the oldest first.
    """

    SKIP = "skip"
    CATCH_UP = "catch_up"


def due_periods(
    period: Period, last_done: date | None, *, now: datetime, tz: ZoneInfo, grace: timedelta, missed: Missed
) -> list[date]:
    """The periods to run for, the oldest first. A period is due ``grace`` after its end, when late reports are in.

    A clock that never ran begins with the newest: what was before it is nobody's miss.
    """
    newest = _last_closed(period, (now - grace).astimezone(tz).date())
    if last_done is not None and last_done >= newest:
        return []
    if last_done is None or missed is Missed.SKIP:
        return [newest]
    due = [following(period, last_done)]
    while due[-1] < newest and len(due) < CAUGHT_UP_AT_ONCE:
        due.append(following(period, due[-1]))
    return due


def following(period: Period, day: date) -> date:
    """The period after the one that begins on ``day``."""
    return day + timedelta(days=1) if period is Period.DAY else next_month(day)


def _last_closed(period: Period, today: date) -> date:
    return today - timedelta(days=1) if period is Period.DAY else previous_month(today)
