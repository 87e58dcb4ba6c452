"""The administrators' figures: pool, chips, and what flowed this month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import (
    Assignment,
    Chip,
    GatewayBoot,
    Plan,
    ProbeDay,
    Provider,
    Proxy,
    User,
    UserProxyCost,
)
from whago.domain.models.proxies import takes_chips
from whago.domain.queries.continuity import NOTHING_YET, Continuity, continuity_in
from whago.domain.queries.days import NOTHING, providers_of_month
from whago.domain.rules.months import billing_month, next_month
from whago.domain.rules.pricing import gb
from whago.domain.rules.thresholds import percentage
from whago.kit.db import reading

TOP_CUSTOMERS = 10


@dataclass(frozen=True, slots=True)
class ProviderMonth:
    """What one provider carried in the running month; ``house_…``: what our own probes did. Continuity: of 30 days."""

    id: UUID
    name: str
    is_active: bool
    proxies: int
    chips: int
    health_score: int | None
    bytes_month: int
    cost_month: Decimal
    house_bytes_month: int
    house_cost_month: Decimal
    continuity: Continuity


@dataclass(frozen=True, slots=True)
class CustomerMonth:
    """One of the customers who used most in the running month."""

    id: UUID
    name: str
    email: str
    bytes_month: int
    cost_month: Decimal
    percentage_used: float


@dataclass(frozen=True, slots=True)
class StatsDashboard:
    """Counts of living things, and the sums of the running billing month. Gateways hold ``leased_bytes``.

    ``probe_…``: what our own probes moved, which the house pays; of the day's ``health_probe_budget_bytes`` those for
    health have used ``health_probe_bytes_today``.
    """

    month: date
    as_of: datetime
    providers_total: int
    providers_active: int
    proxies_total: int
    proxies_active: int
    proxies_healthy: int
    average_health: int | None
    chips_total: int
    chips_assigned: int
    chips_waiting: int
    chips_by_status: dict[str, int]
    open_tunnels: int
    bytes_month: int
    gb_month: float
    cost_month: Decimal
    leased_bytes: int
    customers_warned: int
    customers_blocked: int
    probe_bytes_month: int
    probe_cost_month: Decimal
    health_probe_bytes_today: int
    health_probe_budget_bytes: int
    by_provider: list[ProviderMonth]
    top_customers: list[CustomerMonth]


def stats_dashboard(*, now: datetime, tz: ZoneInfo, probe_budget_bytes: int = 0) -> StatsDashboard:
    """One snapshot of everything. ``probe_budget_bytes``: what health probes may move in a day."""
    month = billing_month(now, tz)
    with reading() as db:
        by_status = _chips_by_status(db)
        assigned = db.scalar(select(func.count()).select_from(Assignment).where(Assignment.released_at.is_(None))) or 0
        by_provider = _by_provider(db, month, now, tz)
        total_bytes, total_cost, leased, warned, blocked = _month_totals(db, month)
        proxies, active, healthy, health = _pool_counts(db)
        probe_bytes, probe_cost, health_today = _probes(db, month, now.astimezone(tz).date())
        return StatsDashboard(
            month=month,
            as_of=now,
            providers_total=len(by_provider),
            providers_active=sum(one.is_active for one in by_provider),
            proxies_total=proxies,
            proxies_active=active,
            proxies_healthy=healthy,
            average_health=health,
            chips_total=sum(by_status.values()),
            chips_assigned=assigned,
            chips_waiting=by_status.get("waiting_proxy", 0),
            chips_by_status=by_status,
            open_tunnels=_open_tunnels(db),
            bytes_month=total_bytes,
            gb_month=gb(total_bytes),
            cost_month=total_cost,
            leased_bytes=leased,
            customers_warned=warned,
            customers_blocked=blocked,
            probe_bytes_month=probe_bytes,
            probe_cost_month=probe_cost,
            health_probe_bytes_today=health_today,
            health_probe_budget_bytes=probe_budget_bytes,
            by_provider=by_provider,
            top_customers=_top_customers(db, month),
        )


def _chips_by_status(db: Session) -> dict[str, int]:
    query = select(Chip.status, func.count()).where(Chip.deleted_at.is_(None)).group_by(Chip.status)
    return dict(db.execute(query).all())


def _open_tunnels(db: Session) -> int:
    tunnels = select(func.coalesce(func.sum(GatewayBoot.open_tunnels), 0)).where(GatewayBoot.stopped_at.is_(None))
    return int(db.scalar(tunnels) or 0)


def _month_totals(db: Session, month: date) -> tuple[int, Decimal, int, int, int]:
    row = db.execute(
        select(
            func.coalesce(func.sum(UserProxyCost.total_bytes), 0),
            func.coalesce(func.sum(UserProxyCost.total_cost), Decimal(0)),
            func.coalesce(func.sum(UserProxyCost.leased_bytes), 0),
            func.count().filter(UserProxyCost.warned_at.is_not(None), UserProxyCost.exhausted_at.is_(None)),
            func.count().filter(UserProxyCost.exhausted_at.is_not(None)),
        ).where(UserProxyCost.month_year == month)
    ).one()
    return int(row[0]), row[1], int(row[2]), row[3], row[4]


def _probes(db: Session, month: date, today: date) -> tuple[int, Decimal, int]:
    """Bytes and cost of the month, and today's bytes of health probes."""
    row = db.execute(
        select(
            func.coalesce(func.sum(ProbeDay.bytes), 0),
            func.coalesce(func.sum(ProbeDay.cost), Decimal(0)),
            func.coalesce(func.sum(ProbeDay.bytes).filter(ProbeDay.day == today, ProbeDay.purpose == "health"), 0),
        ).where(ProbeDay.day >= month, ProbeDay.day < next_month(month))
    ).one()
    return int(row[0]), row[1], int(row[2])


def _pool_counts(db: Session) -> tuple[int, int, int, int | None]:
    usable = Proxy.is_active & Provider.is_active
    row = db.execute(
        select(
            func.count(),
            func.count().filter(usable),
            func.count().filter(takes_chips()),
            func.avg(Proxy.health_score).filter(usable),
        )
        .select_from(Proxy)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(Proxy.deleted_at.is_(None))
    ).one()
    return row[0], row[1], row[2], round(row[3]) if row[3] is not None else None


def _by_provider(db: Session, month: date, now: datetime, tz: ZoneInfo) -> list[ProviderMonth]:
    steady = continuity_in(db, now=now, tz=tz)
    usage = providers_of_month(db, now=now, tz=tz)
    pool = (
        select(Proxy.provider_id, func.count().label("n"), func.avg(Proxy.health_score).label("health"))
        .where(Proxy.deleted_at.is_(None))
        .group_by(Proxy.provider_id)
        .subquery()
    )
    chips = (
        select(Assignment.provider_id, func.count().label("n"))
        .where(Assignment.released_at.is_(None))
        .group_by(Assignment.provider_id)
        .subquery()
    )
    house = (
        select(ProbeDay.provider_id, func.sum(ProbeDay.bytes).label("b"), func.sum(ProbeDay.cost).label("c"))
        .where(ProbeDay.day >= month)
        .group_by(ProbeDay.provider_id)
        .subquery()
    )
    query = (
        select(Provider, pool.c.n, chips.c.n, pool.c.health, house.c.b, house.c.c)
        .outerjoin(house, house.c.provider_id == Provider.id)
        .outerjoin(pool, pool.c.provider_id == Provider.id)
        .outerjoin(chips, chips.c.provider_id == Provider.id)
        .where(Provider.deleted_at.is_(None))
        .order_by(Provider.priority, Provider.name)
    )
    return [
        ProviderMonth(
            id=provider.id,
            name=provider.name,
            is_active=provider.is_active,
            proxies=proxies or 0,
            chips=count or 0,
            health_score=round(health) if health is not None else None,
            bytes_month=usage.get(provider.id, NOTHING)[0],
            cost_month=usage.get(provider.id, NOTHING)[1],
            house_bytes_month=int(house_bytes or 0),
            house_cost_month=house_cost or Decimal(0),
            continuity=steady.get(provider.id, NOTHING_YET),
        )
        for provider, proxies, count, health, house_bytes, house_cost in db.execute(query)
    ]


def _top_customers(db: Session, month: date) -> list[CustomerMonth]:
    default = db.scalars(select(Plan).where(Plan.is_default)).one()
    query = (
        select(UserProxyCost, User, Plan)
        .join(User, User.id == UserProxyCost.user_id)
        .outerjoin(Plan, Plan.id == User.plan_id)
        .where(UserProxyCost.month_year == month, UserProxyCost.total_bytes > 0)
        .order_by(UserProxyCost.total_bytes.desc(), User.id)
        .limit(TOP_CUSTOMERS)
    )
    return [
        CustomerMonth(
            id=user.id,
            name=user.name,
            email=user.email,
            bytes_month=total.total_bytes,
            cost_month=total.total_cost,
            percentage_used=percentage(total.total_bytes, (plan or default).limit_bytes),
        )
        for total, user, plan in db.execute(query)
    ]
