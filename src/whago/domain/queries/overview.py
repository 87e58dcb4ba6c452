"""The administrators' first page: what flows now, what it costs, who is near the limit, and what is broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Numeric, and_, case, cast, func, or_, select
from sqlalchemy.orm import Session

from whago.domain.models import (
    Alert,
    Chip,
    ChipStatus,
    ClockRun,
    GatewayBoot,
    Plan,
    Provider,
    Proxy,
    User,
    UserProxyCost,
)
from whago.domain.models.proxies import takes_chips
from whago.domain.queries.days import today_in
from whago.domain.queries.usage import projected_gb
from whago.domain.rules.months import billing_month
from whago.domain.rules.pricing import GB, limit_bytes
from whago.domain.rules.thresholds import OnLimit, QuotaState, percentage, quota_state
from whago.kit.db import reading

NEAR_FROM_PERCENT: Final = 70  # where the bar becomes yellow
NEAR_SHOWN: Final = 8
ALERTS_SHOWN: Final = 8
GATEWAY_SILENT_AFTER: Final = timedelta(seconds=15)  # it reports every second; fifteen misses are not a hiccup
CLOCKS_SILENT_AFTER: Final = timedelta(minutes=2)  # the heartbeat is due every ten seconds
CUSTOMERS_OWN: Final = ("quota_warning", "quota_exhausted", "quota_projected")  # told by the list of who is near


@dataclass(frozen=True, slots=True)
class NearLimit:
    """A customer who has used most of the month's limit. ``projected_percent``: at the month's end, at this pace."""

    id: UUID
    name: str
    email: str
    plan: str
    bytes_used: int
    limit_gb: Decimal
    percentage_used: float
    projected_percent: float
    state: QuotaState


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """Something that is wrong and was told."""

    id: UUID
    kind: str
    severity: str
    data: dict[str, Any]
    raised_at: datetime


@dataclass(frozen=True, slots=True)
class Living:
    """What lives and what does not, counted."""

    chips: int
    chips_connected: int
    chips_waiting: int
    chips_failed: int
    chips_blocked: int
    proxies: int
    proxies_healthy: int
    average_health: int | None
    gateways: int
    gateways_silent: int
    open_tunnels: int
    last_beat: datetime | None


@dataclass(frozen=True, slots=True)
class Overview:
    """One snapshot. Bytes and costs are of the billing zone's day and month.

    ``bytes_ever`` only grows, so the difference of two snapshots is what flowed between them.
    """

    month: date
    at: datetime
    bytes_today: int
    cost_today: Decimal
    bytes_month: int
    cost_month: Decimal
    projected_gb: float
    bytes_ever: int
    living: Living
    near: Sequence[NearLimit]
    near_total: int
    alerts: Sequence[OpenAlert]
    alerts_total: int

    @property
    def clocks_silent(self) -> bool:
        return self.living.last_beat is None or self.at - self.living.last_beat > CLOCKS_SILENT_AFTER

    @property
    def is_all_well(self) -> bool:
        one = self.living
        wrong = (one.chips_waiting, one.chips_failed, one.proxies - one.proxies_healthy, one.gateways_silent)
        return not (self.alerts or any(wrong) or self.clocks_silent or not one.gateways)


def overview(*, now: datetime, tz: ZoneInfo) -> Overview:
    """Everything at once, out of one snapshot."""
    month = billing_month(now, tz)
    with reading() as db:
        bytes_today, cost_today = today_in(db, now=now, tz=tz)
        bytes_month, cost_month = _month(db, month)
        near, near_total = _near(db, month, now, tz)
        alerts, alerts_total = _alerts(db)
        return Overview(
            month=month,
            at=now,
            bytes_today=bytes_today,
            cost_today=cost_today,
            bytes_month=bytes_month,
            cost_month=cost_month,
            projected_gb=projected_gb(bytes_month, now=now, tz=tz),
            bytes_ever=int(db.scalar(select(func.sum(Proxy.total_bytes_used))) or 0),
            living=_living(db, now),
            near=near,
            near_total=near_total,
            alerts=alerts,
            alerts_total=alerts_total,
        )


def _month(db: Session, month: date) -> tuple[int, Decimal]:
    sums = select(func.sum(UserProxyCost.total_bytes), func.sum(UserProxyCost.total_cost))
    total, cost = db.execute(sums.where(UserProxyCost.month_year == month)).one()
    return int(total or 0), cost or Decimal(0)


def _near(db: Session, month: date, now: datetime, tz: ZoneInfo) -> tuple[list[NearLimit], int]:
    own_or_default = or_(Plan.id == User.plan_id, and_(User.plan_id.is_(None), Plan.is_default))
    used_gb = cast(UserProxyCost.total_bytes, Numeric) / GB
    share = case((Plan.proxy_gb_limit > 0, used_gb / cast(Plan.proxy_gb_limit, Numeric)), else_=1)
    query = (
        select(UserProxyCost.total_bytes, User, Plan, func.count().over().label("all"))
        .join(User, User.id == UserProxyCost.user_id)
        .join(Plan, own_or_default)
        .where(
            UserProxyCost.month_year == month,
            User.deleted_at.is_(None),
            Plan.proxy_gb_limit.is_not(None),
            share * 100 >= NEAR_FROM_PERCENT,
        )
        .order_by(share.desc(), User.id)
        .limit(NEAR_SHOWN)
    )
    rows = db.execute(query).all()
    found = [_near_limit(used, user, plan, now, tz) for used, user, plan, _all in rows]
    return found, int(rows[0][3]) if rows else 0


def _near_limit(used: int, user: User, plan: Plan, now: datetime, tz: ZoneInfo) -> NearLimit:
    assert plan.proxy_gb_limit is not None
    limit = limit_bytes(plan.proxy_gb_limit)
    projected = round(projected_gb(used, now=now, tz=tz) * GB)
    return NearLimit(
        id=user.id,
        name=user.name,
        email=user.email,
        plan=plan.name,
        bytes_used=used,
        limit_gb=plan.proxy_gb_limit,
        percentage_used=percentage(used, limit),
        projected_percent=percentage(projected, limit),
        state=quota_state(used, limit, OnLimit(plan.on_limit)),
    )


def _alerts(db: Session) -> tuple[list[OpenAlert], int]:
    first = case({"error": 0, "warning": 1}, value=Alert.severity, else_=2)
    query = (
        select(Alert, func.count().over())
        .where(Alert.cleared_at.is_(None), Alert.kind.not_in(CUSTOMERS_OWN))
        .order_by(first, Alert.raised_at.desc(), Alert.id)
        .limit(ALERTS_SHOWN)
    )
    rows = db.execute(query).all()
    found = [OpenAlert(one.id, one.kind, one.severity, one.data, one.raised_at) for one, _all in rows]
    return found, int(rows[0][1]) if rows else 0


def _living(db: Session, now: datetime) -> Living:
    by_status: dict[str, int] = dict(
        db.execute(select(Chip.status, func.count()).where(Chip.deleted_at.is_(None)).group_by(Chip.status)).all()
    )
    proxies, healthy, health = _pool(db)
    gateways, silent, tunnels = _gateways(db, now)
    return Living(
        chips=sum(by_status.values()),
        chips_connected=by_status.get(ChipStatus.CONNECTED, 0),
        chips_waiting=by_status.get(ChipStatus.WAITING_PROXY, 0),
        chips_failed=by_status.get(ChipStatus.ERROR, 0),
        chips_blocked=by_status.get(ChipStatus.BLOCKED_QUOTA, 0),
        proxies=proxies,
        proxies_healthy=healthy,
        average_health=health,
        gateways=gateways,
        gateways_silent=silent,
        open_tunnels=tunnels,
        last_beat=db.scalar(select(ClockRun.started_at).order_by(ClockRun.id.desc()).limit(1)),
    )


def _pool(db: Session) -> tuple[int, int, int | None]:
    """Those that are meant to take chips, those that do, and their average health."""
    row = db.execute(
        select(func.count(), func.count().filter(takes_chips()), func.avg(Proxy.health_score))
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Proxy.deleted_at.is_(None),
            Proxy.is_active,
            ~Proxy.is_draining,
            Provider.is_active,
            ~Provider.is_draining,
        )
    ).one()
    return row[0], row[1], round(row[2]) if row[2] is not None else None


def _gateways(db: Session, now: datetime) -> tuple[int, int, int]:
    """Those that report, those that fell silent, and the tunnels of the former."""
    speaks = GatewayBoot.last_seen_at >= now - GATEWAY_SILENT_AFTER
    row = db.execute(
        select(
            func.count().filter(speaks),
            func.count().filter(~speaks),
            func.coalesce(func.sum(GatewayBoot.open_tunnels).filter(speaks), 0),
        ).where(GatewayBoot.stopped_at.is_(None), GatewayBoot.settled_at.is_(None), GatewayBoot.is_demo.is_(False))
    ).one()
    return row[0], row[1], int(row[2])
