"""A customer's own month as a report: by chip and by day, at what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from whago.domain.models import Chip, ChipUsageMonth, Plan, UsageHour, User, UserProxyCost
from whago.domain.queries.paging import Page
from whago.domain.rules.months import day_start, next_month
from whago.domain.rules.pricing import gb
from whago.domain.rules.reporting import billed, projected, share_passed
from whago.errors import WhagoError
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class OwnChip:
    """``cost`` is exact."""

    chip_id: UUID
    alias: str
    bytes_used: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class OwnDay:
    """A day of the billing zone; days without traffic are left out."""

    day: date
    bytes_used: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class OwnLine:
    """A chip's day."""

    day: date
    chip_id: UUID
    alias: str
    bytes_used: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class UsageReport:
    """``billed_cost`` is ``cost`` in cents: the month rounds once. ``projected_…``: at the running month's end.

    ``plan`` is the one of the month's closing, before that the one of today.
    """

    month: date
    is_running: bool
    plan: str
    bytes_used: int
    gb_used: float
    cost: Decimal
    billed_cost: Decimal
    projected_bytes: int
    projected_cost: Decimal
    chips: Sequence[OwnChip]
    days: Sequence[OwnDay]


def usage_report(user_id: UUID, month: date, *, now: datetime, tz: ZoneInfo) -> UsageReport:
    """One billing month of one customer. Raises WhagoError("not_found")."""
    begins, ends = day_start(month, tz), day_start(next_month(month), tz)
    day = func.date(func.timezone(tz.key, UsageHour.hour)).label("day")
    default_plan = select(Plan.id).where(Plan.is_default).scalar_subquery()
    with reading() as db:
        plan = db.scalar(
            select(Plan.name)
            .join(User, func.coalesce(User.plan_id, default_plan) == Plan.id)
            .where(User.id == user_id, User.deleted_at.is_(None))
        )
        if plan is None:
            raise WhagoError("not_found")
        row = db.scalars(
            select(UserProxyCost).where(UserProxyCost.user_id == user_id, UserProxyCost.month_year == month)
        ).one_or_none()
        chips = db.execute(
            select(Chip.id, Chip.alias, ChipUsageMonth.total_bytes, ChipUsageMonth.total_cost)
            .join(Chip, Chip.id == ChipUsageMonth.chip_id)
            .where(ChipUsageMonth.user_id == user_id, ChipUsageMonth.month_year == month)
            .order_by(ChipUsageMonth.total_bytes.desc(), Chip.id)
        ).all()
        days = db.execute(
            select(day, func.sum(UsageHour.total_bytes), func.sum(UsageHour.total_cost))
            .where(UsageHour.user_id == user_id, UsageHour.hour >= begins, UsageHour.hour < ends)
            .group_by(day)
            .order_by(day)
        ).all()
    used, cost = (row.total_bytes, row.total_cost) if row is not None else (0, Decimal(0))
    passed = share_passed(month, now=now, tz=tz)
    return UsageReport(
        month=month,
        is_running=passed is not None,
        plan=(row.plan_name if row is not None else None) or plan,
        bytes_used=used,
        gb_used=gb(used),
        cost=cost,
        billed_cost=billed(cost),
        projected_bytes=int(projected(Decimal(used), passed)),
        projected_cost=billed(projected(cost, passed)),
        chips=[OwnChip(*chip) for chip in chips],
        days=[OwnDay(at, int(count), spent) for at, count, spent in days],
    )


def own_lines(user_id: UUID, month: date, cursor: str | None, *, tz: ZoneInfo) -> Page[OwnLine]:
    """A day of the month by chip; the cursor is the day. For files: a page is read when its turn comes."""
    day = month if cursor is None else date.fromisoformat(cursor)
    query = (
        select(Chip.id, Chip.alias, func.sum(UsageHour.total_bytes), func.sum(UsageHour.total_cost))
        .join(Chip, Chip.id == UsageHour.chip_id)
        .where(
            UsageHour.user_id == user_id,
            UsageHour.hour >= day_start(day, tz),
            UsageHour.hour < day_start(day + timedelta(days=1), tz),
        )
        .group_by(Chip.id)
        .order_by(Chip.alias, Chip.id)
    )
    with reading() as db:
        lines = [OwnLine(day, key, alias, int(count), cost) for key, alias, count, cost in db.execute(query)]
    following = day + timedelta(days=1)
    return Page(lines, following.isoformat() if following < next_month(month) else None)
