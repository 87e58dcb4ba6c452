"""The lines that reports of a month are made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class CustomerLine:
    """``cost`` is exact, ``billed_cost`` the same in cents; money is BRL. ``projected_…``: at the month's end.

    ``is_final``: plan and price are those of the month's closing, not of today.
    """

    user_id: UUID
    name: str
    email: str
    plan: str
    plan_price: Decimal
    bytes_used: int
    gb_used: float
    cost: Decimal
    billed_cost: Decimal
    margin: Decimal
    margin_percent: Decimal | None
    projected_bytes: int
    projected_cost: Decimal
    projected_margin: Decimal
    is_final: bool


@dataclass(frozen=True, slots=True)
class ChipLine:
    """A chip's month over all its proxies. A chip or customer that was deleted since keeps its name."""

    chip_id: UUID
    alias: str
    user_id: UUID
    customer: str
    email: str
    bytes_used: int
    gb_used: float
    cost: Decimal
    projected_cost: Decimal


@dataclass(frozen=True, slots=True)
class PriceLine:
    """A chip's month at one proxy and one price snapshot: ``cost_per_gb`` for each ``bytes_per_gb`` bytes."""

    chip_id: UUID
    alias: str
    user_id: UUID
    customer: str
    email: str
    provider: str
    proxy_id: UUID
    proxy_url: str
    price_id: int
    cost_per_gb: Decimal
    bytes_per_gb: int
    bytes_used: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class ProviderLine:
    """A provider's month at one price snapshot, in force since ``effective_from``."""

    provider_id: UUID
    provider: str
    price_id: int
    cost_per_gb: Decimal
    bytes_per_gb: int
    currency: str
    effective_from: datetime
    customers: int
    chips: int
    bytes_used: int
    gb_used: float
    cost: Decimal
    projected_cost: Decimal


@dataclass(frozen=True, slots=True)
class MonthOverview:
    """Sums over all customers. ``house_…``: our own probes, which no customer pays.

    ``billed_cost`` is the sum of what is billed, each customer rounded once; ``cost`` is exact. ``passed``: the share
    of the running month that is over, None when it has ended. ``closed_at``: since then plans and prices are fixed.
    """

    month: date
    as_of: datetime
    passed: Decimal | None
    closed_at: datetime | None
    customers: int
    customers_with_usage: int
    chips: int
    bytes_used: int
    gb_used: float
    cost: Decimal
    billed_cost: Decimal
    revenue: Decimal
    margin: Decimal
    margin_percent: Decimal | None
    house_bytes: int
    house_cost: Decimal
    result: Decimal
    projected_cost: Decimal
    projected_margin: Decimal
