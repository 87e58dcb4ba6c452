"""Billing time: a month begins on day 1 at 00:00 in the billing time zone; usage is kept by that zone's clock hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)


def usage_hour(moment: datetime, tz: ZoneInfo) -> datetime:
    """The start, in UTC, of the billing zone's clock hour that holds ``moment``.

    Zones with half-hour offsets have their own hours, so that a month's end never falls inside one.
    """
    offset = moment.astimezone(tz).utcoffset() or timedelta()
    local = moment.astimezone(UTC) + offset
    return local.replace(minute=0, second=0, microsecond=0) - offset


def billing_month(moment: datetime, tz: ZoneInfo) -> date:
    """Day 1 of the billing month that holds ``moment``."""
    return moment.astimezone(tz).date().replace(day=1)


def billing_day(moment: datetime, tz: ZoneInfo) -> datetime:
    """The first instant, in UTC, of the billing zone's day that holds ``moment``."""
    return moment.astimezone(tz).replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)


def day_start(day: date, tz: ZoneInfo) -> datetime:
    """The first instant of a day of the billing zone, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=tz).astimezone(UTC)


def month_start(month: date, tz: ZoneInfo) -> datetime:
    """The first instant of a billing month, in UTC."""
    return datetime(month.year, month.month, 1, tzinfo=tz).astimezone(UTC)


def next_month(month: date) -> date:
    """Day 1 of the month after."""
    return (month.replace(day=1) + timedelta(days=32)).replace(day=1)


def previous_month(month: date) -> date:
    """Day 1 of the month before."""
    return (month.replace(day=1) - timedelta(days=1)).replace(day=1)


def month_progress(moment: datetime, tz: ZoneInfo, *, at_least: timedelta = timedelta.resolution) -> float:
    """How much of the billing month has passed, above 0 and at most 1. ``at_least`` is taken as passed in any case."""
    month = billing_month(moment, tz)
    start, end = month_start(month, tz), month_start(next_month(month), tz)
    return max(moment - start, at_least) / (end - start)
