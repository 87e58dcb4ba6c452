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
from whago.web.deps import CostReader, Now, Parted, Zone
from whago.web.errors import problems

router = APIRouter(prefix="/admin/proxies/stats", tags=["admin: proxies"])


class ContinuityAnswer(Answer):
    """The last 30 days. ``steady_percent``: chip-days without a change that nobody asked for. ``median_life_s``: of an
    exit IP; with ``median_life_is_least`` most of them still live, so it is at least that."""

    chip_days: int
    steady_chip_days: int
    steady_percent: float | None
    changes: int
    duplicates: int
    median_life_s: int | None
    median_life_is_least: bool


class ProviderMonthAnswer(Answer):
    """``house_…``: what our own probes moved, which no customer pays."""

    id: UUID
    name: str
    is_active: bool
    proxies: int
    chips: int
    health_score: int | None
    bytes_month: int
    cost_month: Money
    house_bytes_month: int
    house_cost_month: Money
    continuity: ContinuityAnswer


class CustomerMonthAnswer(Answer):
    id: UUID
    name: str
    email: str
    bytes_month: int
    cost_month: Money
    percentage_used: float


class DashboardAnswer(Answer):
    """One snapshot. ``leased_bytes`` are held by gateways and not used yet. Our own probes are on the house."""

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
    probe_bytes_month: int
    probe_cost_month: Money
    health_probe_bytes_today: int
    health_probe_budget_bytes: int
    by_provider: list[ProviderMonthAnswer]
    top_customers: list[CustomerMonthAnswer]


@router.get("/dashboard", response_model=DashboardAnswer, responses=problems(*ADMIN))
def get_dashboard(_admin: CostReader, parts: Parted, now: Now, tz: Zone) -> StatsDashboard:
    """Pool, chips, and what flowed in the running billing month."""
    return stats_dashboard(now=now, tz=tz, probe_budget_bytes=parts.config.probe_bytes_per_day)


@router.get("/series", response_model=SeriesAnswer, responses=problems(*ADMIN))
def get_all_series(
    _admin: CostReader,
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
