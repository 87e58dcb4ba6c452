"""The last days as charts show them: every day is there, also one without traffic."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.domain.queries.course import Course, Part, SplitBy, course
from whago.domain.queries.days import NOTHING, Sum, days_of_all, days_of_chip, days_of_customer

DAYS: Final = 30

SeriesBy = SplitBy

ALL_SPLITS: Final[tuple[SeriesBy, ...]] = ("provider", "customer")  # of charts of all customers together


@dataclass(frozen=True, slots=True)
class Day:
    """What flowed on one day of the billing zone; ``parts``: bytes and cost in the order of the chart's parts."""

    day: date
    bytes: int
    cost: Decimal
    parts: Sequence[tuple[int, Decimal]] = field(default=())


def chosen_by(wanted: str, possible: Collection[SeriesBy]) -> SeriesBy | None:
    """How a reader wants the chart split; None, or anything unknown: not at all."""
    return next((one for one in possible if one == wanted), None)


def last_days(
    user_id: UUID | None, *, now: datetime, tz: ZoneInfo, chip_id: UUID | None = None, by: SeriesBy | None = None
) -> dict[str, Any]:
    """What the templates of a chart need. ``user_id`` None: all customers."""
    dates = _dates(now, tz)
    parts: Sequence[Part] = ()
    if by is not None:
        split = course(user_id, by=by, first=dates[0], now=now, tz=tz)
        parts, days = split.parts, _split_days(split, dates)
    else:
        sums = _sums(user_id, chip_id, dates[0], now=now, tz=tz)
        days = [Day(day, *sums.get(day, NOTHING)) for day in dates]
    return {
        "days": days,
        "parts": parts,
        "series_by": by,
        "series_choices": (),
        "series_bytes": sum(one.bytes for one in days),
        "series_cost": sum((one.cost for one in days), Decimal(0)),
    }


def _sums(user_id: UUID | None, chip_id: UUID | None, first: date, *, now: datetime, tz: ZoneInfo) -> dict[date, Sum]:
    if user_id is None:
        return days_of_all(first, now=now, tz=tz)
    if chip_id is None:
        return days_of_customer(user_id, first, now=now, tz=tz)
    return days_of_chip(user_id, chip_id, first, now=now, tz=tz)


def _dates(now: datetime, tz: ZoneInfo) -> list[date]:
    first = now.astimezone(tz).date() - timedelta(days=DAYS - 1)
    return [first + timedelta(days=offset) for offset in range(DAYS)]


def _split_days(split: Course, dates: Sequence[date]) -> list[Day]:
    found = {(point.day, point.id): (point.bytes, point.cost) for point in split.points}
    days = []
    for day in dates:
        parts = [found.get((day, part.id), NOTHING) for part in split.parts]
        days.append(Day(day, sum(one[0] for one in parts), sum((one[1] for one in parts), Decimal(0)), parts))
    return days
