"""Days of the billing zone: those that are over from their sums, what is not added up yet from its hours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, DateTime, Integer, func, select
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import InstrumentedAttribute, Session

from whago.domain.models import (
    UsageDay,
    UsageDayMark,
    UsageHour,
    UsagePriceMonth,
    UsageProviderDay,
    UserProxyCost,
)
from whago.domain.rules.months import billing_month, day_start
from whago.kit.db import reading

DAY: Final = timedelta(days=1)

Sum = tuple[int, Decimal]
"""Bytes and cost."""

NOTHING: Final[Sum] = (0, Decimal(0))


def days_of_all(first: date, *, now: datetime, tz: ZoneInfo) -> dict[date, Sum]:
    """All customers together, from ``first`` to today; days without traffic may be missing."""
    today = now.astimezone(tz).date()
    with reading() as db:
        cut = added_up_until(db, first, today)
        query = select(UsageDayMark.day, UsageDayMark.total_bytes, UsageDayMark.total_cost)
        over = {row[0]: (row[1], row[2]) for row in db.execute(query.where(UsageDayMark.day.between(first, cut - DAY)))}
        if cut == today:
            return over | {today: today_in(db, now=now, tz=tz)}
        return over | _by_hours(db, cut, today, tz)


def days_of_customer(user_id: UUID, first: date, *, now: datetime, tz: ZoneInfo) -> dict[date, Sum]:
    """The same of one customer."""
    today = now.astimezone(tz).date()
    with reading() as db:
        cut = added_up_until(db, first, today)
        query = (
            select(UsageDay.day, func.sum(UsageDay.total_bytes), func.sum(UsageDay.total_cost))
            .where(UsageDay.user_id == user_id, UsageDay.day.between(first, cut - DAY))
            .group_by(UsageDay.day)
        )
        over = {day: (int(total), cost) for day, total, cost in db.execute(query)}
        return over | _by_hours(db, cut, today, tz, UsageHour.user_id == user_id)


def days_of_chip(user_id: UUID, chip_id: UUID, first: date, *, now: datetime, tz: ZoneInfo) -> dict[date, Sum]:
    """The same of one chip of its owner."""
    which = (UsageHour.user_id == user_id, UsageHour.chip_id == chip_id)
    with reading() as db:
        return _by_hours(db, first, now.astimezone(tz).date(), tz, *which)


def today_in(db: Session, *, now: datetime, tz: ZoneInfo) -> Sum:
    """What all customers used today: their month less its days that are over, where those are added up.

    The month's sums move with every report, so nothing has to be added up again and again.
    """
    today, month = now.astimezone(tz).date(), billing_month(now, tz)
    if added_up_until(db, month, today) < today:
        return _by_hours(db, today, today, tz).get(today, NOTHING)
    whole = _sum(db, UserProxyCost, UserProxyCost.month_year == month)
    over = _sum(db, UsageDayMark, UsageDayMark.day.between(month, today - DAY))
    return max(0, whole[0] - over[0]), max(Decimal(0), whole[1] - over[1])


def providers_of_month(db: Session, *, now: datetime, tz: ZoneInfo) -> dict[UUID, Sum]:
    """What moved through each provider since the running month began.

    Its days that are over and today's hours, if they add up to the month; else, as when a late report of yesterday has
    not been added up, each chip's month.
    """
    today, month = now.astimezone(tz).date(), billing_month(now, tz)
    cut = added_up_until(db, month, today, also=UsageDayMark.providers_as_of)
    found = _by_provider(db, UsageProviderDay, UsageProviderDay.day.between(month, cut - DAY))
    for provider_id, (total, cost) in _by_provider(db, UsageHour, UsageHour.hour >= day_start(cut, tz)).items():
        before = found.get(provider_id, NOTHING)
        found[provider_id] = (before[0] + total, before[1] + cost)
    added = (sum(total for total, _ in found.values()), sum((cost for _, cost in found.values()), Decimal(0)))
    if added == _sum(db, UserProxyCost, UserProxyCost.month_year == month):
        return found
    return _by_provider(db, UsagePriceMonth, UsagePriceMonth.month_year == month)


def added_up_until(
    db: Session, first: date, today: date, *, also: InstrumentedAttribute[datetime | None] | None = None
) -> date:
    """The first day from ``first`` on, at most today, that was not added up.

    ``also``: the mark of the day's parts that must stand, too.
    """
    query = select(UsageDayMark.day).where(UsageDayMark.day >= first, UsageDayMark.day < today)
    if also is not None:
        query = query.where(also == UsageDayMark.as_of)
    marked = set(db.scalars(query))
    day = first
    while day < today and day in marked:
        day += DAY
    return day


def days_between(first: date, last: date) -> Sequence[date]:
    """Both included."""
    return [first + DAY * number for number in range((last - first).days + 1)]


def place_of_day(days: Sequence[date], tz: ZoneInfo) -> ColumnElement[int]:
    """In SQL: the place (from 1) of an hour's day among ``days``, which follow one another.

    A search among the beginnings of the days: converting every row's time into the zone takes ten times as long.
    """
    starts = array([day_start(day, tz) for day in days], type_=DateTime(timezone=True))
    return func.width_bucket(UsageHour.hour, starts.cast(ARRAY(DateTime(timezone=True))), type_=Integer)


def _sum(db: Session, table: type[UserProxyCost | UsageDayMark], which: ColumnElement[bool]) -> Sum:
    query = select(func.sum(table.total_bytes), func.sum(table.total_cost)).where(which)
    total, cost = db.execute(query).one()
    return int(total or 0), cost or Decimal(0)


def _by_provider(
    db: Session, table: type[UsageProviderDay | UsageHour | UsagePriceMonth], which: ColumnElement[bool]
) -> dict[UUID, Sum]:
    query = (
        select(table.provider_id, func.sum(table.total_bytes), func.sum(table.total_cost))
        .where(which)
        .group_by(table.provider_id)
    )
    return {provider_id: (int(total), cost) for provider_id, total, cost in db.execute(query)}


def _by_hours(db: Session, first: date, last: date, tz: ZoneInfo, *which: Any) -> dict[date, Sum]:
    days = days_between(first, last)
    place = place_of_day(days, tz).label("place")
    query = (
        select(place, func.sum(UsageHour.total_bytes), func.sum(UsageHour.total_cost))
        .where(UsageHour.hour >= day_start(first, tz), *which)
        .group_by("place")
    )
    return {days[number - 1]: (int(total), cost) for number, total, cost in db.execute(query)}
