"""What a customer has used: the month against its limit, the course of it, and the bill of every customer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import Session

from whago.domain.models import Chip, GatewayBoot, Plan, Provider, QuotaLease, UsageHour, User, UserProxyCost
from whago.domain.models.quota import allowances
from whago.domain.queries.paging import Order, Page, as_id, as_number, page_of
from whago.domain.rules.months import billing_month, month_progress, month_start, next_month
from whago.domain.rules.pricing import gb
from whago.domain.rules.thresholds import OnLimit, QuotaState, percentage, quota_state
from whago.errors import WhagoError
from whago.kit.db import reading

PROJECTION_FLOOR = timedelta(days=1)  # a month's first hours say nothing about the rest, so a day is the least measure

Granularity = Literal["hour", "day"]
By = Literal["chip", "provider"]


@dataclass(frozen=True, slots=True)
class MonthUsage:
    """``gb_used`` and ``projected_gb`` in GB of 10⁹ bytes; ``limit_gb`` None is unlimited.

    ``as_of``: every gateway that may be moving bytes of this customer has reported up to then.
    """

    month: date
    bytes_used: int
    gb_used: float
    cost: Decimal
    limit_gb: Decimal | None
    limit_bytes: int | None
    percentage_used: float
    state: QuotaState
    on_limit: OnLimit
    as_of: datetime
    projected_gb: float
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """Bytes and cost of one hour or day that begins ``at``; of one chip or provider when asked so."""

    at: datetime
    id: UUID | None
    label: str | None
    bytes: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class CustomerCost:
    """One customer's line in the report of a month."""

    user_id: UUID
    name: str
    email: str
    plan: str
    bytes_used: int
    gb_used: float
    cost: Decimal
    limit_gb: Decimal | None
    percentage_used: float
    state: QuotaState


def usage_of_month(user_id: UUID, *, now: datetime, tz: ZoneInfo) -> MonthUsage:
    """The running billing month of one customer. Raises WhagoError("not_found")."""
    with reading() as db:
        return month_usage(db, user_id, now=now, tz=tz)


def month_usage(db: Session, user_id: UUID, *, now: datetime, tz: ZoneInfo) -> MonthUsage:
    """The same, inside the caller's transaction."""
    plan = allowances(db, [user_id]).get(user_id)
    if plan is None:
        raise WhagoError("not_found")
    month = billing_month(now, tz)
    row = db.scalars(
        select(UserProxyCost).where(UserProxyCost.user_id == user_id, UserProxyCost.month_year == month)
    ).one_or_none()
    used, cost = (row.total_bytes, row.total_cost) if row is not None else (0, Decimal(0))
    return MonthUsage(
        month=month,
        bytes_used=used,
        gb_used=gb(used),
        cost=cost,
        limit_gb=_limit_gb(db, user_id),
        limit_bytes=plan.limit,
        percentage_used=percentage(used, plan.limit),
        state=quota_state(used, plan.limit, plan.on_limit),
        on_limit=plan.on_limit,
        as_of=_as_of(db, user_id, month, now),
        projected_gb=projected_gb(used, now=now, tz=tz),
        resets_at=month_start(next_month(month), tz),
    )


def projected_gb(used_bytes: int, *, now: datetime, tz: ZoneInfo) -> float:
    """What the month comes to when it goes on as so far."""
    return round(gb(used_bytes) / month_progress(now, tz, at_least=PROJECTION_FLOOR), 9)


def usage_series(
    user_id: UUID | None,
    *,
    granularity: Granularity,
    start: datetime,
    end: datetime,
    by: By | None,
    tz: ZoneInfo,
    chip_id: UUID | None = None,
) -> list[UsagePoint]:
    """What flowed from ``start`` (included) to ``end`` (excluded), of one customer or, for None, of all of them.

    Days are those of the billing time zone. Hours and days without traffic are left out.
    """
    at = _bucket(granularity, tz)
    ident, label, target = _dimension(by)
    query = (
        select(at.label("at"), ident, label, func.sum(UsageHour.total_bytes), func.sum(UsageHour.total_cost))
        .where(UsageHour.hour >= start, UsageHour.hour < end)
        .group_by("at", *([ident, label] if target is not None else []))
        .order_by("at", *([label, ident] if target is not None else []))
    )
    if target is not None:
        query = query.join(target, target.id == ident)
    if user_id is not None:
        query = query.where(UsageHour.user_id == user_id)
    if chip_id is not None:
        query = query.where(UsageHour.chip_id == chip_id)
    with reading() as db:
        return [UsagePoint(moment, key, name, int(count), cost) for moment, key, name, count, cost in db.execute(query)]


def costs_of_customers(month: date, *, limit: int, cursor: str | None) -> Page[CustomerCost]:
    """Every customer with usage in a billing month, the greatest first."""
    query = (
        select(UserProxyCost, User, Plan)
        .join(User, User.id == UserProxyCost.user_id)
        .outerjoin(Plan, Plan.id == User.plan_id)
        .where(UserProxyCost.month_year == month)
    )
    order = Order((UserProxyCost.total_bytes, UserProxyCost.user_id), (as_number, as_id), descending=True)
    with reading() as db:
        default = db.scalars(select(Plan).where(Plan.is_default)).one()
        return page_of(
            db,
            query,
            order,
            limit=limit,
            cursor=cursor,
            make=lambda row: _customer_cost(row, default),
            key=lambda line: (line.bytes_used, line.user_id),
        )


def _customer_cost(row: Any, default: Plan) -> CustomerCost:
    total, user, own_plan = row
    plan = own_plan or default
    return CustomerCost(
        user_id=user.id,
        name=user.name,
        email=user.email,
        plan=plan.name,
        bytes_used=total.total_bytes,
        gb_used=gb(total.total_bytes),
        cost=total.total_cost,
        limit_gb=plan.proxy_gb_limit,
        percentage_used=percentage(total.total_bytes, plan.limit_bytes),
        state=quota_state(total.total_bytes, plan.limit_bytes, plan.policy),
    )


def _limit_gb(db: Session, user_id: UUID) -> Decimal | None:
    own = select(Plan.proxy_gb_limit).join(User, User.plan_id == Plan.id).where(User.id == user_id)
    found: Sequence[Decimal | None] = db.scalars(own).all()
    return found[0] if found else db.scalar(select(Plan.proxy_gb_limit).where(Plan.is_default))


def _as_of(db: Session, user_id: UUID, month: date, now: datetime) -> datetime:
    oldest = db.scalar(
        select(func.min(GatewayBoot.last_seen_at))
        .join(QuotaLease, QuotaLease.boot_id == GatewayBoot.id)
        .where(
            QuotaLease.user_id == user_id,
            QuotaLease.month_year == month,
            QuotaLease.state != "released",
            GatewayBoot.settled_at.is_(None),
        )
    )
    return min(now, oldest) if oldest is not None else now


def _bucket(granularity: Granularity, tz: ZoneInfo) -> ColumnElement[datetime]:
    if granularity == "hour":
        return UsageHour.hour.expression
    return func.date_trunc("day", UsageHour.hour, tz.key)


def _dimension(by: By | None) -> tuple[ColumnElement[Any], ColumnElement[Any], type[Chip] | type[Provider] | None]:
    if by == "chip":
        return UsageHour.chip_id.expression, Chip.alias.expression, Chip
    if by == "provider":
        return UsageHour.provider_id.expression, Provider.name.expression, Provider
    return literal(None), literal(None), None
