"""The course of usage over days, split by what moved it: the few that moved most, and all others together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, case, func, null, select
from sqlalchemy.orm import Session

from whago.domain.models import Chip, Provider, UsageHour, User
from whago.kit.db import reading

TOP: Final = 6  # as many colours as people tell apart; the others are one

SplitBy = Literal["chip", "provider", "customer"]

_TARGETS: Final[dict[SplitBy, tuple[Any, Any, Any]]] = {
    "chip": (UsageHour.chip_id, Chip, Chip.alias),
    "provider": (UsageHour.provider_id, Provider, Provider.name),
    "customer": (UsageHour.user_id, User, User.name),
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


def course(
    user_id: UUID | None,
    *,
    by: SplitBy,
    start: datetime,
    end: datetime,
    tz: ZoneInfo,
) -> Course:
    """From ``start`` (included) to ``end`` (excluded), of one customer or, for None, of all of them."""
    ident, target, name = _TARGETS[by]
    which = [UsageHour.hour >= start, UsageHour.hour < end]
    if user_id is not None:
        which.append(UsageHour.user_id == user_id)
    with reading() as db:
        top = _top(db, ident, target, name, which)
        points = _points(db, ident, [part.id for part in top], which, tz)
    others = [Part(None, None)] if any(point.id is None for point in points) else []
    return Course([*top, *others], points)


def _top(db: Session, ident: Any, target: Any, name: Any, which: Sequence[ColumnElement[bool]]) -> list[Part]:
    sums = (
        select(ident.label("ident"), func.sum(UsageHour.total_bytes).label("total"))
        .where(*which)
        .group_by(ident)
        .order_by(func.sum(UsageHour.total_bytes).desc(), ident)
        .limit(TOP)
        .subquery()
    )
    query = select(sums.c.ident, name).join(target, target.id == sums.c.ident).order_by(sums.c.total.desc(), target.id)
    return [Part(key, told) for key, told in db.execute(query)]


def _points(
    db: Session, ident: Any, top: Sequence[UUID | None], which: Sequence[ColumnElement[bool]], tz: ZoneInfo
) -> list[DayPart]:
    part = case((ident.in_(top), ident), else_=null()).label("part")
    day = func.date_trunc("day", UsageHour.hour, tz.key).label("day")
    query = (
        select(day, part, func.sum(UsageHour.total_bytes), func.sum(UsageHour.total_cost))
        .where(*which)
        .group_by("day", "part")
    )
    return [
        DayPart(moment.astimezone(tz).date(), key, int(total), cost) for moment, key, total, cost in db.execute(query)
    ]
