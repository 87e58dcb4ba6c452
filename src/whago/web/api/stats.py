"""The administrators' figures of the pool and the running month."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from whago.domain.queries.dashboard import StatsDashboard, stats_dashboard
from whago.domain.queries.usage import By, Granularity, usage_series
from whago.web.api.fields import Answer, Moment, Money, MonthDay
from whago.web.api.providers import ADMIN
from whago.web.api.usage import FromMoment, SeriesAnswer, ToMoment, checked_range, series_answer
from whago.web.deps import Admin, Now, Zone
from whago.web.errors import problems

router = APIRouter(prefix="/admin/proxies/stats", tags=["admin: proxies"])


class ProviderMonthAnswer(Answer):
    id: UUID
    name: str
    is_active: bool
    proxies: int
    chips: int
    health_score: int | None
    bytes_month: int
    cost_month: Money


class CustomerMonthAnswer(Answer):
    id: UUID
    name: str
    email: str
    bytes_month: int
    cost_month: Money
    percentage_used: float


class DashboardAnswer(Answer):
    """One snapshot. ``leased_bytes`` are held by gateways and not used yet."""

    month: MonthDay
    as_of: Moment
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
    cost_month: Money
    leased_bytes: int
    customers_warned: int
    customers_blocked: int
    by_provider: list[ProviderMonthAnswer]
    top_customers: list[CustomerMonthAnswer]


@router.get("/dashboard", response_model=DashboardAnswer, responses=problems(*ADMIN))
def get_dashboard(_admin: Admin, now: Now, tz: Zone) -> StatsDashboard:
    """Pool, chips, and what flowed in the running billing month."""
    return stats_dashboard(now=now, tz=tz)


@router.get("/series", response_model=SeriesAnswer, responses=problems(*ADMIN))
def get_all_series(
    _admin: Admin,
    now: Now,
    tz: Zone,
    granularity: Granularity = "day",
    start: FromMoment = None,
    end: ToMoment = None,
    by: Annotated[By | None, "chip or provider"] = None,
) -> SeriesAnswer:
    """Everybody's traffic over time."""
    first, last = checked_range(granularity, start, end, now)
    points = usage_series(None, granularity=granularity, start=first, end=last, by=by, tz=tz)
    return series_answer(granularity, by, first, last, points)
