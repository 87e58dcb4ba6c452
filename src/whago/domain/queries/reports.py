"""A billing month for administrators: what each customer, chip and provider cost, at which prices, and what is left.

Everything is read from rollups, so a month reports the same when its ledger is gone. A closed month keeps the plan that
each customer had; before that the plan of today counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Numeric, Select, and_, case, cast, false, func, literal, or_, select

from whago.domain.models import (
    Chip,
    ChipUsageMonth,
    Plan,
    ProbeDay,
    Provider,
    ProviderPrice,
    Proxy,
    UsagePriceMonth,
    User,
    UserProxyCost,
)
from whago.domain.queries.paging import Order, Page, as_id, as_number, as_text, page_of
from whago.domain.queries.report_lines import ChipLine, CustomerLine, MonthOverview, PriceLine, ProviderLine
from whago.domain.rules.months import month_start, next_month
from whago.domain.rules.pricing import gb
from whago.domain.rules.reporting import billed, margin, margin_percent, projected, share_passed
from whago.kit.db import reading
from whago.kit.money import cents

Rows = Select[*tuple[Any, ...]]
MONTHS_SHOWN: Final = 36  # in a chooser; older ones are asked for by their address


@dataclass(frozen=True, slots=True)
class Reporting:
    """The month of a report, and the moment and zone in which it is read."""

    month: date
    now: datetime
    tz: ZoneInfo

    @property
    def passed(self) -> Decimal | None:
        return share_passed(self.month, now=self.now, tz=self.tz)


def report_months() -> Sequence[date]:
    """The months that have usage, the latest first."""
    query = (
        select(UserProxyCost.month_year)
        .where(UserProxyCost.total_bytes > 0)
        .distinct()
        .order_by(UserProxyCost.month_year.desc())
        .limit(MONTHS_SHOWN)
    )
    with reading() as db:
        return db.scalars(query).all()


def month_overview(asked: Reporting) -> MonthOverview:
    """The month as one line."""
    month, passed = asked.month, asked.passed
    with reading() as db:
        lines = _customers(asked).subquery()
        sums = db.execute(
            select(
                func.count(),
                func.count().filter(lines.c.bytes_used > 0),
                _sum(lines.c.bytes_used),
                _sum(lines.c.cost),
                _sum(half_even(lines.c.cost)),
                _sum(lines.c.plan_price),
            ).select_from(lines)
        ).one()
        customers, with_usage, used, cost, billed_cost, revenue = sums
        with_bytes = (ChipUsageMonth.month_year == month, ChipUsageMonth.total_bytes > 0)
        chips = db.scalar(select(func.count()).select_from(ChipUsageMonth).where(*with_bytes)) or 0
        house_bytes, house_cost = db.execute(_house(month)).one()
        closed_at = db.scalar(select(func.max(UserProxyCost.closed_at)).where(UserProxyCost.month_year == month))
    projection = cents(projected(cost, passed)) if passed is not None else billed_cost
    left = revenue - billed_cost
    return MonthOverview(
        month=month,
        as_of=asked.now,
        passed=passed,
        closed_at=closed_at,
        customers=customers,
        customers_with_usage=with_usage,
        chips=chips,
        bytes_used=int(used),
        gb_used=gb(int(used)),
        cost=cost,
        billed_cost=billed_cost,
        revenue=revenue,
        margin=left,
        margin_percent=margin_percent(revenue, billed_cost),
        house_bytes=int(house_bytes),
        house_cost=house_cost,
        result=left - cents(house_cost),
        projected_cost=projection,
        projected_margin=revenue - projection,
    )


def customer_lines(asked: Reporting, *, limit: int, cursor: str | None, by_name: bool = False) -> Page[CustomerLine]:
    """Every customer of the month, also those without usage; who used most first, or by name."""
    lines = _customers(asked).subquery()
    order = (
        Order((lines.c.name, lines.c.user_id), (as_text, as_id))
        if by_name
        else Order((lines.c.bytes_used, lines.c.user_id), (as_number, as_id), descending=True)
    )
    return _page(
        select(lines), order, limit, cursor,
        make=lambda row: _customer_line(row, asked.passed),
        key=lambda line: (line.name if by_name else line.bytes_used, line.user_id),
    )  # fmt: skip


def chip_lines(asked: Reporting, *, limit: int, cursor: str | None, by_name: bool = False) -> Page[ChipLine]:
    """Every chip with usage; who used most first, or by its customer's name and its own."""
    lines = _chips(asked).subquery()
    order = (
        Order((lines.c.customer, lines.c.alias, lines.c.chip_id), (as_text, as_text, as_id))
        if by_name
        else Order((lines.c.bytes_used, lines.c.chip_id), (as_number, as_id), descending=True)
    )
    return _page(
        select(lines), order, limit, cursor,
        make=lambda row: _chip_line(row, asked.passed),
        key=lambda line: (line.customer, line.alias, line.chip_id) if by_name else (line.bytes_used, line.chip_id),
    )  # fmt: skip


def price_lines(asked: Reporting, *, limit: int, cursor: str | None) -> Page[PriceLine]:
    """The month's smallest parts, by chip: what adds up to every other line."""
    order = Order(
        (UsagePriceMonth.chip_id, UsagePriceMonth.proxy_id, UsagePriceMonth.price_id), (as_id, as_id, as_number)
    )
    return _page(
        _prices(asked), order, limit, cursor,
        make=lambda row: PriceLine(*row),
        key=lambda line: (line.chip_id, line.proxy_id, line.price_id),
    )  # fmt: skip


def provider_lines(asked: Reporting) -> list[ProviderLine]:
    """Each provider at each price that it had in the month; the most expensive provider first."""
    used, cost = _sum(UsagePriceMonth.total_bytes), _sum(UsagePriceMonth.total_cost)
    query = (
        select(
            Provider.id.label("provider_id"),
            Provider.name.label("provider"),
            ProviderPrice.id.label("price_id"),
            ProviderPrice.cost_per_gb,
            ProviderPrice.bytes_per_gb,
            ProviderPrice.currency,
            ProviderPrice.effective_from,
            func.count(UsagePriceMonth.user_id.distinct()).label("customers"),
            func.count(UsagePriceMonth.chip_id.distinct()).label("chips"),
            used.label("bytes_used"),
            cost.label("cost"),
        )
        .join(Provider, Provider.id == UsagePriceMonth.provider_id)
        .join(ProviderPrice, ProviderPrice.id == UsagePriceMonth.price_id)
        .where(UsagePriceMonth.month_year == asked.month)
        .group_by(Provider.id, ProviderPrice.id)
        .order_by(func.sum(cost).over(partition_by=Provider.id).desc(), Provider.id, ProviderPrice.effective_from)
    )
    with reading() as db:
        return [_provider_line(row, asked.passed) for row in db.execute(query)]


def line_count(kind: str, asked: Reporting) -> int:
    """How many lines a report has; ``kind`` as in ``rules.report_tables.TABLES``."""
    if kind == "providers":
        return len(provider_lines(asked))
    query = {"customers": _customers, "chips": _chips, "prices": _prices}[kind](asked)
    with reading() as db:
        return db.scalar(select(func.count()).select_from(query.subquery())) or 0


def half_even(amount: ColumnElement[Decimal]) -> ColumnElement[Decimal]:
    """Rounds to cents as ``kit.money.cents`` does; PostgreSQL's own ``round`` takes every half away from zero."""
    scaled = amount * 100
    whole = func.floor(scaled)
    is_tie = and_(scaled - whole == Decimal("0.5"), func.mod(whole, 2) == 0)
    return case((is_tie, whole / 100), else_=func.round(amount, 2))


def _customers(asked: Reporting) -> Rows:
    """``is_final`` lines come from the closing; without one, also customers who have used nothing yet."""
    month = asked.month
    default_plan = select(Plan.id).where(Plan.is_default).scalar_subquery()
    is_closed = (
        select(literal(1)).where(UserProxyCost.month_year == month, UserProxyCost.closed_at.is_not(None)).exists()
    )
    may_use = and_(
        User.role == "user", User.is_active, User.deleted_at.is_(None),
        User.created_at < month_start(next_month(month), asked.tz),
        ~is_closed,
    )  # fmt: skip
    price_now = case((User.role != "user", cast(0, Numeric(12, 2))), else_=Plan.price)
    return (
        select(
            User.id.label("user_id"),
            User.name.label("name"),
            User.email.label("email"),
            func.coalesce(UserProxyCost.plan_name, Plan.name).label("plan"),
            func.coalesce(UserProxyCost.plan_price, price_now).label("plan_price"),
            func.coalesce(UserProxyCost.total_bytes, 0).label("bytes_used"),
            func.coalesce(UserProxyCost.total_cost, 0).label("cost"),
            func.coalesce(UserProxyCost.closed_at.is_not(None), false()).label("is_final"),
        )
        .join(Plan, Plan.id == func.coalesce(User.plan_id, default_plan))
        .outerjoin(UserProxyCost, and_(UserProxyCost.user_id == User.id, UserProxyCost.month_year == month))
        .where(or_(UserProxyCost.closed_at.is_not(None), UserProxyCost.total_bytes > 0, may_use))
    )


def _chips(asked: Reporting) -> Rows:
    return (
        select(
            ChipUsageMonth.chip_id,
            Chip.alias.label("alias"),
            ChipUsageMonth.user_id,
            User.name.label("customer"),
            User.email.label("email"),
            ChipUsageMonth.total_bytes.label("bytes_used"),
            ChipUsageMonth.total_cost.label("cost"),
        )
        .join(Chip, Chip.id == ChipUsageMonth.chip_id)
        .join(User, User.id == ChipUsageMonth.user_id)
        .where(ChipUsageMonth.month_year == asked.month, ChipUsageMonth.total_bytes > 0)
    )


def _prices(asked: Reporting) -> Rows:
    return (
        select(
            UsagePriceMonth.chip_id,
            Chip.alias,
            UsagePriceMonth.user_id,
            User.name,
            User.email,
            Provider.name,
            UsagePriceMonth.proxy_id,
            Proxy.proxy_url,
            UsagePriceMonth.price_id,
            ProviderPrice.cost_per_gb,
            ProviderPrice.bytes_per_gb,
            UsagePriceMonth.total_bytes,
            UsagePriceMonth.total_cost,
        )
        .join(Chip, Chip.id == UsagePriceMonth.chip_id)
        .join(User, User.id == UsagePriceMonth.user_id)
        .join(Provider, Provider.id == UsagePriceMonth.provider_id)
        .join(Proxy, Proxy.id == UsagePriceMonth.proxy_id)
        .join(ProviderPrice, ProviderPrice.id == UsagePriceMonth.price_id)
        .where(UsagePriceMonth.month_year == asked.month)
    )


def _house(month: date) -> Select[tuple[Any, Any]]:
    days = ProbeDay.day >= month, ProbeDay.day < next_month(month)
    return select(_sum(ProbeDay.bytes), _sum(ProbeDay.cost)).where(*days)


def _sum(column: Any) -> ColumnElement[Any]:
    return func.coalesce(func.sum(column), 0)


def _page(query: Rows, order: Order, limit: int, cursor: str | None, *, make: Any, key: Any) -> Page[Any]:
    with reading() as db:
        return page_of(db, query, order, limit=limit, cursor=cursor, make=make, key=key)


def _customer_line(row: Any, passed: Decimal | None) -> CustomerLine:
    to_come = projected(row.cost, passed)
    return CustomerLine(
        user_id=row.user_id,
        name=row.name,
        email=row.email,
        plan=row.plan,
        plan_price=row.plan_price,
        bytes_used=row.bytes_used,
        gb_used=gb(row.bytes_used),
        cost=row.cost,
        billed_cost=billed(row.cost),
        margin=margin(row.plan_price, row.cost),
        margin_percent=margin_percent(row.plan_price, row.cost),
        projected_bytes=int(projected(Decimal(row.bytes_used), passed)),
        projected_cost=billed(to_come),
        projected_margin=margin(row.plan_price, to_come),
        is_final=row.is_final,
    )


def _chip_line(row: Any, passed: Decimal | None) -> ChipLine:
    return ChipLine(
        chip_id=row.chip_id,
        alias=row.alias,
        user_id=row.user_id,
        customer=row.customer,
        email=row.email,
        bytes_used=row.bytes_used,
        gb_used=gb(row.bytes_used),
        cost=row.cost,
        projected_cost=projected(row.cost, passed),
    )


def _provider_line(row: Any, passed: Decimal | None) -> ProviderLine:
    return ProviderLine(
        provider_id=row.provider_id,
        provider=row.provider,
        price_id=row.price_id,
        cost_per_gb=row.cost_per_gb,
        bytes_per_gb=row.bytes_per_gb,
        currency=row.currency,
        effective_from=row.effective_from,
        customers=row.customers,
        chips=row.chips,
        bytes_used=int(row.bytes_used),
        gb_used=gb(int(row.bytes_used)),
        cost=row.cost,
        projected_cost=projected(row.cost, passed),
    )
