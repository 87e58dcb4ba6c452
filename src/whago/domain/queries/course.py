"""The course of usage over days, split by what moved it: the few that moved most, and all others together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, Subquery, func, select, union_all
from sqlalchemy.orm import InstrumentedAttribute, Session

from whago.domain.models import (
    Chip,
    Provider,
    UsageChipDay,
    UsageDay,
    UsageDayMark,
    UsageHour,
    UsageProviderDay,
    User,
)
from whago.domain.queries.days import added_up_until, days_between, place_of_day
from whago.domain.rules.months import day_start
from whago.kit.db import reading

TOP: Final = 6  # as many colours as people tell apart; the others are one

SplitBy = Literal["chip", "provider", "customer"]
DayTable = type[UsageChipDay] | type[UsageDay] | type[UsageProviderDay]

_IDENTS: Final[dict[SplitBy, str]] = {"chip": "chip_id", "provider": "provider_id", "customer": "user_id"}
_TABLES: Final[dict[SplitBy, DayTable]] = {"chip": UsageChipDay, "provider": UsageDay, "customer": UsageDay}
_PARTS: Final[dict[DayTable, InstrumentedAttribute[datetime | None]]] = {
    UsageChipDay: UsageDayMark.chips_as_of,
    UsageProviderDay: UsageDayMark.providers_as_of,
}
_NAMES: Final[dict[SplitBy, tuple[Any, Any]]] = {
    "chip": (Chip.id, Chip.alias),
    "provider": (Provider.id, Provider.name),
    "customer": (User.id, User.name),
}


@dataclass(frozen=True, slots=True)
class Part:
    """One of those that moved most in the whole stretch; ``id`` None: all others."""

    id: UUID | None
    name: str | None


@dataclass(frozen=True, slots=True)
class DayPart:
    """What one part moved on one day of the billing zone."""

    day: date
    id: UUID | None
    bytes: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class Course:
    """``parts`` from the most to the least; the others, if there are any, last."""

    parts: Sequence[Part]
    points: Sequence[DayPart]


def course(user_id: UUID | None, *, by: SplitBy, first: date, now: datetime, tz: ZoneInfo) -> Course:
    """From the day ``first`` to today, of one customer or, for None, of all of them (by provider or customer)."""
    days = days_between(first, now.astimezone(tz).date())
    with reading() as db:
        table = UsageProviderDay if by == "provider" and user_id is None else _TABLES[by]
        cut = added_up_until(db, days[0], days[-1], also=_PARTS.get(table))
        points = _points(db, _over_and_hours(user_id, by, table, days, cut, tz), days)
        names = _names(db, by, {point.id for point in points if point.id is not None})
    return Course([Part(key, names.get(key) if key else None) for key in _from_the_most(points)], points)


def _over_and_hours(
    user_id: UUID | None, by: SplitBy, table: DayTable, days: Sequence[date], cut: date, tz: ZoneInfo
) -> Subquery:
    """Days that are over and added up in ``table``, then the hours from ``cut`` on."""
    over = select(
        (table.day - days[0] + 1).label("place"),
        getattr(table, _IDENTS[by]).label("ident"),
        table.total_bytes.label("bytes"),
        table.total_cost.label("cost"),
    ).where(table.day.between(days[0], cut - timedelta(days=1)))
    hours = _hours(by, days, tz, UsageHour.hour >= day_start(cut, tz))
    if user_id is not None:
        over, hours = over.where(table.__table__.c.user_id == user_id), hours.where(UsageHour.user_id == user_id)
    return union_all(over, hours).subquery("moved")


def _hours(by: SplitBy, days: Sequence[date], tz: ZoneInfo, *which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(
        place_of_day(days, tz).label("place"),
        getattr(UsageHour, _IDENTS[by]).label("ident"),
        UsageHour.total_bytes.label("bytes"),
        UsageHour.total_cost.label("cost"),
    ).where(UsageHour.hour >= day_start(days[0], tz), *which)


def _points(db: Session, source: Subquery, days: Sequence[date]) -> list[DayPart]:
    """The hours are read once; who moved most comes out of their sums."""
    daily = (
        select(
            source.c.place,
            source.c.ident,
            func.sum(source.c.bytes).label("bytes"),
            func.sum(source.c.cost).label("cost"),
        )
        .group_by(source.c.place, source.c.ident)
        .cte("daily")
    )
    top = (
        select(daily.c.ident)
        .group_by(daily.c.ident)
        .order_by(func.sum(daily.c.bytes).desc(), daily.c.ident)
        .limit(TOP)
        .subquery("top")
    )
    query = (
        select(daily.c.place, top.c.ident, func.sum(daily.c.bytes), func.sum(daily.c.cost))
        .select_from(daily)
        .outerjoin(top, top.c.ident == daily.c.ident)
        .group_by(daily.c.place, top.c.ident)
    )
    return [DayPart(days[place - 1], key, int(total), cost) for place, key, total, cost in db.execute(query)]


def _names(db: Session, by: SplitBy, idents: Collection[UUID]) -> dict[UUID, str]:
    ident, name = _NAMES[by]
    return {row[0]: row[1] for row in db.execute(select(ident, name).where(ident.in_(idents)))}


def _from_the_most(points: Sequence[DayPart]) -> list[UUID | None]:
    """The others, if there are any, come last."""
    totals: dict[UUID | None, int] = defaultdict(int)
    for point in points:
        totals[point.id] += point.bytes
    return sorted(totals, key=lambda key: (key is None, -totals[key], str(key)))
