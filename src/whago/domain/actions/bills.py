"""Bills of vendors: their figures taken over, compared with ours, and told of when they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models import Provider, ProviderBilling, ProviderReading, ProviderUsageDay
from whago.domain.models.auditing import audit
from whago.domain.models.bills import billing_of, judge_bill, note_balance, our_day, put_day, running_totals
from whago.domain.rules.bills import Ours, day_bounds
from whago.errors import WhagoError
from whago.kit.db import transaction

RECOMPARED_DAYS: Final = 7  # how long our own figures of a day may still move: a crashed gateway's counters come late
ERROR_CHARS_MAX: Final = 300
NEAR_MIDNIGHT: Final = timedelta(minutes=30)  # a reading this near to a day's edge stands for it

Source = Literal["api", "csv"]


@dataclass(frozen=True, slots=True)
class BillingFields:
    """How a provider's bill is read and judged; see ``models.billing.ProviderBilling``."""

    usage_tz: str
    lag_min: int | None
    threshold_percent: Decimal
    account: str | None
    api_url: str | None
    transfer_url: str | None
    low_balance_bytes: int | None
    request_overhead_bytes: int
    reconcile_from: date | None


def set_billing(
    actor_id: UUID | None, provider_id: UUID, wanted: BillingFields, *, now: datetime, tz: ZoneInfo
) -> None:
    """Changes how the bill is read; what was compared lately is judged anew. Raises WhagoError("not_found")."""
    with transaction() as db:
        provider = _living(db, provider_id)
        billing = billing_of(db, provider_id)
        for name in BillingFields.__dataclass_fields__:
            setattr(billing, name, getattr(wanted, name))
        billing.asked_at = None  # the next tick asks with the new fields
        if billing.balance_bytes is not None:
            note_balance(db, provider, billing, billing.balance_bytes, billing.balance_at or now)
        _recompare(db, provider, billing, now, tz)
        audit(db, actor_id, "provider.billing", "provider", provider_id, now)


def record_vendor_days(
    provider_id: UUID,
    days: Mapping[date, int],
    *,
    source: Source,
    resolution_bytes: int = 1,
    actor_id: UUID | None = None,
    now: datetime,
    tz: ZoneInfo,
) -> int:
    """Takes over what the vendor says of whole days, bytes each, and compares; returns how many differ.

    An import by hand wins over what the API said before. Raises WhagoError("not_found").
    """
    with transaction() as db:
        provider = _living(db, provider_id)
        billing = billing_of(db, provider_id)
        by_hand = _imported(db, provider_id) if source == "api" else frozenset()
        rows = [
            put_day(
                db, provider, billing, day, vendor_bytes, _ours(db, billing, day, tz), source=source,
                resolution_bytes=resolution_bytes, vendor_at=now, now=now,
            )
            for day, vendor_bytes in sorted(days.items())
            if day not in by_hand
        ]  # fmt: skip
        if source == "api":
            billing.asked_at, billing.last_error = now, None
        else:
            audit(db, actor_id, "provider.import_bill", "provider", provider_id, now, days=len(rows))
        _recompare(db, provider, billing, now, tz)
        return sum(row.verdict == "differs" for row in rows)


def record_reading(provider_id: UUID, counter: str, vendor_bytes: int, *, resolution_bytes: int, now: datetime) -> int:
    """Keeps a vendor's running counter beside ours; a day whose both edges were read is compared. Returns how many.

    Between two readings ours and theirs cover the same time, so the edges need not be exact.
    """
    with transaction() as db:
        provider = _living(db, provider_id)
        billing = billing_of(db, provider_id)
        billing.asked_at, billing.last_error = now, None
        chips, house = running_totals(db, provider_id)
        db.add(
            ProviderReading(
                provider_id=provider_id, at=now, counter=counter, vendor_bytes=vendor_bytes, chip_bytes=chips,
                house_bytes=house,
            )
        )  # fmt: skip
        db.flush()
        vendor_tz = ZoneInfo(billing.usage_tz)
        yesterday = now.astimezone(vendor_tz).date() - timedelta(days=1)
        first = reconcile_from(provider, billing)
        compared = 0
        for day in (yesterday - timedelta(days=1), yesterday):
            if day >= first and _from_readings(db, provider, billing, day, resolution_bytes, now):
                compared += 1
        judge_bill(db, provider, now)
        return compared


def record_balance(provider_id: UUID, balance_bytes: int, *, now: datetime) -> None:
    """What is left at the vendor; below the provider's line administrators are told."""
    with transaction() as db:
        note_balance(db, _living(db, provider_id), billing_of(db, provider_id), balance_bytes, now)


def record_api_failure(provider_id: UUID, sentence: str, *, now: datetime) -> None:
    """The vendor's API gave nothing; the page shows why."""
    with transaction() as db:
        _living(db, provider_id)
        billing = billing_of(db, provider_id)
        billing.asked_at, billing.last_error = now, sentence[:ERROR_CHARS_MAX]


def reconcile_from(provider: Provider, billing: ProviderBilling) -> date:
    """The first day that is compared: what was said, else the first whole day after the provider was made."""
    if billing.reconcile_from is not None:
        return billing.reconcile_from
    return provider.created_at.astimezone(ZoneInfo(billing.usage_tz)).date() + timedelta(days=1)


def _living(db: Session, provider_id: UUID) -> Provider:
    provider = db.scalars(
        select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None))
    ).one_or_none()
    if provider is None:
        raise WhagoError("not_found")
    return provider


def _ours(db: Session, billing: ProviderBilling, day: date, tz: ZoneInfo) -> Ours:
    return our_day(
        db,
        billing.provider_id,
        day,
        vendor_tz=ZoneInfo(billing.usage_tz),
        tz=tz,
        with_tunnels=billing.request_overhead_bytes > 0,
    )


def _imported(db: Session, provider_id: UUID) -> frozenset[date]:
    query = select(ProviderUsageDay.day).where(
        ProviderUsageDay.provider_id == provider_id, ProviderUsageDay.source == "csv"
    )
    return frozenset(db.scalars(query))


def _recompare(db: Session, provider: Provider, billing: ProviderBilling, now: datetime, tz: ZoneInfo) -> None:
    since = now.astimezone(ZoneInfo(billing.usage_tz)).date() - timedelta(days=RECOMPARED_DAYS)
    lately = db.scalars(
        select(ProviderUsageDay)
        .where(
            ProviderUsageDay.provider_id == provider.id,
            ProviderUsageDay.day >= since,
            ProviderUsageDay.source != "reading",
        )
        .with_for_update()
    ).all()
    for row in lately:
        put_day(
            db, provider, billing, row.day, row.vendor_bytes, _ours(db, billing, row.day, tz), source=row.source,
            resolution_bytes=row.resolution_bytes, vendor_at=row.vendor_at, now=now,
        )  # fmt: skip
    judge_bill(db, provider, now)


def _from_readings(
    db: Session, provider: Provider, billing: ProviderBilling, day: date, resolution_bytes: int, now: datetime
) -> bool:
    begins, ends = day_bounds(day, ZoneInfo(billing.usage_tz))
    between = db.scalars(
        select(ProviderReading)
        .where(
            ProviderReading.provider_id == provider.id,
            ProviderReading.at >= begins,
            ProviderReading.at <= ends + NEAR_MIDNIGHT,
        )
        .order_by(ProviderReading.at, ProviderReading.id)
    ).all()
    span = _span(list(between), begins, ends)
    used = _used(span) if span else None
    if used is None:
        return False
    ours = Ours(span[-1].chip_bytes - span[0].chip_bytes, span[-1].house_bytes - span[0].house_bytes)
    put_day(
        db, provider, billing, day, used, ours, source="reading", resolution_bytes=resolution_bytes,
        vendor_at=span[-1].at, now=now,
    )  # fmt: skip
    return True


def _span(readings: list[ProviderReading], begins: datetime, ends: datetime) -> list[ProviderReading]:
    """From the day's first reading to the first one after its end; empty when an edge was not read in time."""
    last = next((place for place, one in enumerate(readings) if one.at >= ends), None)
    if last is None or not readings or readings[0].at > begins + NEAR_MIDNIGHT:
        return []
    return readings[: last + 1]


def _used(span: list[ProviderReading]) -> int | None:
    """What the vendor counted over the span. None where traffic was bought meanwhile: how much is not known.

    A counter of what is used that falls has begun anew, with a month.
    """
    used = 0
    for before, after in pairwise(span):
        if before.counter != after.counter:
            return None
        step = after.vendor_bytes - before.vendor_bytes
        if after.counter == "left":
            if step > 0:
                return None
            used -= step
        else:
            used += step if step >= 0 else after.vendor_bytes
    return used
