"""The last days as charts show them: every day is there, also one without traffic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.domain.queries.usage import usage_series

DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Day:
    """What flowed on one day of the billing zone."""

    day: date
    bytes: int
    cost: Decimal


def last_days(user_id: UUID | None, *, now: datetime, tz: ZoneInfo, chip_id: UUID | None = None) -> dict[str, Any]:
    """What the templates of a chart need. ``user_id`` None: all customers."""
    first = now.astimezone(tz).date() - timedelta(days=DAYS - 1)
    points = usage_series(
        user_id, granularity="day", start=midnight(first, tz), end=now, by=None, tz=tz, chip_id=chip_id
    )
    found = {point.at.astimezone(tz).date(): point for point in points}
    days = []
    for offset in range(DAYS):
        day = first + timedelta(days=offset)
        point = found.get(day)
        days.append(Day(day, point.bytes if point else 0, point.cost if point else Decimal(0)))
    return {
        "days": days,
        "series_bytes": sum(one.bytes for one in days),
        "series_cost": sum((one.cost for one in days), Decimal(0)),
    }


def midnight(day: date, tz: ZoneInfo) -> datetime:
    """The first instant of a day in a zone."""
    return datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC)
