"""The course of usage over days, split by what moved it: the few that moved most, and all others together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, Subquery, case, func, null, select, union_all
from sqlalchemy.orm import Session

from whago.domain.models import Chip, Provider, UsageDay, UsageHour, User
from whago.domain.queries.days import added_up_until, days_between, place_of_day
from whago.domain.rules.months import day_start
from whago.kit.db import reading

TOP: Final = 6  # as many colours as people tell apart; the others are one

SplitBy = Literal["chip", "provider", "customer"]

_IDENTS: Final[dict[SplitBy, str]] = {"chip": "chip_id", "provider": "provider_id", "customer": "user_id"}
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
        if user_id is not None:
            source = _hours(by, days, tz, UsageHour.user_id == user_id).subquery("moved")
        else:
            source = _over_and_hours(by, days, added_up_until(db, days[0], days[-1]), tz)
        top = _top(db, source, by)
        points = _points(db, source, [part.id for part in top], days)
    others = [Part(None, None)] if any(point.id is None for point in points) else []
    return Course([*top, *others], points)


def _over_and_hours(by: SplitBy, days: Sequence[date], cut: date, tz: ZoneInfo) -> Subquery:
    """Days that are over and added up, then the hours from ``cut`` on."""
    over = select(
        (UsageDay.day - days[0] + 1).label("place"),
        getattr(UsageDay, _IDENTS[by]).label("ident"),
        UsageDay.total_bytes.label("bytes"),
        UsageDay.total_cost.label("cost"),
    ).where(UsageDay.day.between(days[0], cut - timedelta(days=1)))
    return union_all(over, _hours(by, days, tz, UsageHour.hour >= day_start(cut, tz))).subquery("moved")


def _hours(by: SplitBy, days: Sequence[date], tz: ZoneInfo, *which: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    return select(
        place_of_day(days, tz).label("place"),
        getattr(UsageHour, _IDENTS[by]).label("ident"),
        UsageHour.total_bytes.label("bytes"),
        UsageHour.total_cost.label("cost"),
    ).where(UsageHour.hour >= day_start(days[0], tz), *which)


def _top(db: Session, source: Subquery, by: SplitBy) -> list[Part]:
    ident, name = _NAMES[by]
    total = func.sum(source.c.bytes)
    sums = (
        select(source.c.ident, total.label("total"))
        .group_by(source.c.ident)
        .order_by(total.desc(), source.c.ident)
        .limit(TOP)
        .subquery()
    )
    query = select(sums.c.ident, name).join_from(sums, ident.class_, ident == sums.c.ident)
    return [Part(key, told) for key, told in db.execute(query.order_by(sums.c.total.desc(), sums.c.ident))]


def _points(db: Session, source: Subquery, top: Sequence[UUID | None], days: Sequence[date]) -> list[DayPart]:
    part = case((source.c.ident.in_(top), source.c.ident), else_=null()).label("part")
    query = select(source.c.place, part, func.sum(source.c.bytes), func.sum(source.c.cost)).group_by(
        source.c.place, "part"
    )
    return [DayPart(days[place - 1], key, int(total), cost) for place, key, total, cost in db.execute(query)]
