"""Vendors' bills: what to ask of whom, and what stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Date, func, select
from sqlalchemy.orm import Session

from whago.domain.models import Calibration, Provider, ProviderBilling, ProviderUsageDay, UsageHour
from whago.domain.models.bills import running_totals
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import reading

DAYS_SHOWN: Final = 62  # two months
CALIBRATIONS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class BillingView:
    """How a provider's bill is read, what its API said last, and the price that differences are told in."""

    provider_id: UUID
    provider: str
    preset: str
    is_active: bool
    usage_tz: str
    lag_min: int | None
    threshold_percent: Decimal
    account: str | None
    api_url: str | None
    transfer_url: str | None
    low_balance_bytes: int | None
    request_overhead_bytes: int
    reconcile_from: date
    asked_at: datetime | None
    last_error: str | None
    balance_bytes: int | None
    balance_at: datetime | None
    cost_per_gb: Decimal
    bytes_per_gb: int

    @property
    def low_balance_gb(self) -> Decimal | None:
        """In GB of 10⁹, as it is typed in."""
        return None if self.low_balance_bytes is None else Decimal(self.low_balance_bytes).scaleb(-9)


@dataclass(frozen=True, slots=True)
class UsageDayView:
    """One day of the vendor's beside ours, in bytes; the difference is vendor minus expected."""

    day: date
    source: str
    vendor_bytes: int
    chip_bytes: int
    house_bytes: int
    expected_bytes: int
    difference_bytes: int
    difference_percent: Decimal | None
    difference_cost: Decimal
    verdict: str
    compared_at: datetime


@dataclass(frozen=True, slots=True)
class CalibrationView:
    """``fit`` and ``steps`` as ``rules.calibration`` has them, in JSON."""

    id: UUID
    state: str
    started_at: datetime
    ended_at: datetime | None
    applied_at: datetime | None
    steps: list[Any]
    steps_total: int
    fit: Mapping[str, Any] | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Asking:
    """A provider whose usage API may be asked. ``known_days``: those that stand already."""

    billing: BillingView
    credentials: Mapping[str, str] = field(repr=False)
    known_days: frozenset[date] = frozenset()


def billing_view(provider_id: UUID) -> BillingView:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        provider = _provider(db, provider_id)
        return _view(provider, db.get(ProviderBilling, provider_id))


def all_billings() -> list[BillingView]:
    """Every living provider, in the order in which they are asked for a proxy."""
    query = (
        select(Provider, ProviderBilling)
        .outerjoin(ProviderBilling, ProviderBilling.provider_id == Provider.id)
        .where(Provider.deleted_at.is_(None))
        .order_by(Provider.priority, Provider.name)
    )
    with reading() as db:
        return [_view(provider, billing) for provider, billing in db.execute(query)]


def to_ask(vault: Vault, presets: frozenset[str]) -> list[Asking]:
    """Active providers of vendors with a usage API; those whose credentials cannot be unsealed are left out."""
    query = (
        select(Provider, ProviderBilling)
        .outerjoin(ProviderBilling, ProviderBilling.provider_id == Provider.id)
        .where(Provider.deleted_at.is_(None), Provider.is_active, Provider.preset.in_(presets))
        .order_by(Provider.id)
    )
    with reading() as db:
        rows = db.execute(query).all()
        known = _known_days(db)
    found = []
    for provider, billing in rows:
        try:
            credentials = vault.open(provider.credentials)
        except WhagoError:
            continue
        found.append(Asking(_view(provider, billing), credentials, known.get(provider.id, frozenset())))
    return found


def usage_days(provider_id: UUID, *, limit: int = DAYS_SHOWN) -> list[UsageDayView]:
    """The newest first. Raises WhagoError("not_found")."""
    with reading() as db:
        _provider(db, provider_id)
        rows = db.scalars(
            select(ProviderUsageDay)
            .where(ProviderUsageDay.provider_id == provider_id)
            .order_by(ProviderUsageDay.day.desc())
            .limit(limit)
        )
        return [_day(row) for row in rows]


def calibrations(provider_id: UUID) -> list[CalibrationView]:
    """The newest first. Raises WhagoError("not_found")."""
    with reading() as db:
        _provider(db, provider_id)
        rows = db.scalars(
            select(Calibration)
            .where(Calibration.provider_id == provider_id)
            .order_by(Calibration.started_at.desc())
            .limit(CALIBRATIONS_SHOWN)
        )
        return [calibration_view(row) for row in rows]


def due_calibrations(*, now: datetime) -> list[tuple[UUID, UUID]]:
    """(calibration, provider) of those that may go on."""
    query = (
        select(Calibration.id, Calibration.provider_id)
        .join(Provider, Provider.id == Calibration.provider_id)
        .where(Calibration.state == "running", Calibration.next_at <= now, Provider.deleted_at.is_(None))
        .order_by(Calibration.next_at)
    )
    with reading() as db:
        return [(ident, provider_id) for ident, provider_id in db.execute(query)]


def chip_total(provider_id: UUID) -> int:
    """All bytes that chips ever moved through a provider."""
    with reading() as db:
        return running_totals(db, provider_id)[0]


def metered_days(provider_id: UUID, *, since: date, until: date) -> dict[date, int]:
    """Bytes of chips by day of UTC, from ``since`` to before ``until``; days without any are left out."""
    day = func.timezone("UTC", UsageHour.hour).cast(Date)
    query = (
        select(day, func.sum(UsageHour.total_bytes))
        .where(UsageHour.provider_id == provider_id, day >= since, day < until)
        .group_by(day)
        .order_by(day)
    )
    with reading() as db:
        return {found: int(moved) for found, moved in db.execute(query)}


def calibration_view(row: Calibration) -> CalibrationView:
    return CalibrationView(
        id=row.id,
        state=row.state,
        started_at=row.started_at,
        ended_at=row.ended_at,
        applied_at=row.applied_at,
        steps=[step for step in row.steps if step.get("vendor_bytes") is not None],
        steps_total=len(row.steps),
        fit=row.fit,
        problem=row.problem,
    )


def _known_days(db: Session) -> dict[UUID, frozenset[date]]:
    rows = db.execute(select(ProviderUsageDay.provider_id, func.array_agg(ProviderUsageDay.day)).group_by(
        ProviderUsageDay.provider_id
    ))  # fmt: skip
    return {provider_id: frozenset(days) for provider_id, days in rows}


def _provider(db: Session, provider_id: UUID) -> Provider:
    provider = db.scalars(
        select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None))
    ).one_or_none()
    if provider is None:
        raise WhagoError("not_found")
    return provider


def _view(provider: Provider, stored: ProviderBilling | None) -> BillingView:
    billing = stored or ProviderBilling.usual(provider.id)
    first = billing.reconcile_from
    if first is None:
        first = provider.created_at.astimezone(ZoneInfo(billing.usage_tz)).date() + timedelta(days=1)
    return BillingView(
        provider_id=provider.id,
        provider=provider.name,
        preset=provider.preset,
        is_active=provider.is_active,
        usage_tz=billing.usage_tz,
        lag_min=billing.lag_min,
        threshold_percent=billing.threshold_percent,
        account=billing.account,
        api_url=billing.api_url,
        transfer_url=billing.transfer_url,
        low_balance_bytes=billing.low_balance_bytes,
        request_overhead_bytes=billing.request_overhead_bytes,
        reconcile_from=first,
        asked_at=billing.asked_at,
        last_error=billing.last_error,
        balance_bytes=billing.balance_bytes,
        balance_at=billing.balance_at,
        cost_per_gb=provider.cost_per_gb,
        bytes_per_gb=provider.bytes_per_gb,
    )


def _day(row: ProviderUsageDay) -> UsageDayView:
    return UsageDayView(
        day=row.day,
        source=row.source,
        vendor_bytes=row.vendor_bytes,
        chip_bytes=row.chip_bytes,
        house_bytes=row.house_bytes,
        expected_bytes=row.expected_bytes,
        difference_bytes=row.difference_bytes,
        difference_percent=row.difference_percent,
        difference_cost=row.difference_cost,
        verdict=row.verdict,
        compared_at=row.compared_at,
    )
