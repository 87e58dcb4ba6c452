"""Our own figures for a provider's day, and what a comparison sets off; inside the caller's transaction."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models.alerting import Severity, clear_alert, raise_alert
from whago.domain.models.billing import ProviderBilling, ProviderUsageDay
from whago.domain.models.proxies import ProbeDay, Provider, ProviderPrice, Proxy
from whago.domain.models.usage import UsageHour, UsageLog
from whago.domain.rules.bills import Ours, Verdict, compare, day_bounds
from whago.domain.rules.months import billing_month

MISMATCH: Final = "bill_mismatch"
LOW_BALANCE: Final = "provider_balance_low"
LEDGER_HOURS: Final = timedelta(hours=1)
SECOND: Final = timedelta(seconds=1)
GB_PLACES: Final = Decimal("0.001")


def billing_of(db: Session, provider_id: UUID) -> ProviderBilling:
    """How the provider's bill is read, locked; made with the defaults when there is none."""
    found = db.scalars(
        select(ProviderBilling).where(ProviderBilling.provider_id == provider_id).with_for_update()
    ).one_or_none()
    if found is None:
        found = ProviderBilling.usual(provider_id)
        db.add(found)
        db.flush()
    return found


def running_totals(db: Session, provider_id: UUID) -> tuple[int, int]:
    """All that chips and the house ever moved through a provider, in bytes."""
    chips = db.scalar(select(func.sum(Proxy.total_bytes_used)).where(Proxy.provider_id == provider_id))
    house = db.scalar(select(func.sum(ProbeDay.bytes)).where(ProbeDay.provider_id == provider_id))
    return int(chips or 0), int(house or 0)


def our_day(
    db: Session, provider_id: UUID, day: date, *, vendor_tz: ZoneInfo, tz: ZoneInfo, with_tunnels: bool
) -> Ours:
    """Chips by the clock hour; the house's days are the billing zone's, so they are taken in proportion."""
    begins, ends = day_bounds(day, vendor_tz)
    chips = db.scalar(
        select(func.sum(UsageHour.total_bytes)).where(
            UsageHour.provider_id == provider_id, UsageHour.hour >= begins, UsageHour.hour < ends
        )
    )
    house, probes = _house(db, provider_id, begins, ends, tz)
    tunnels = _tunnels(db, provider_id, begins, ends, tz) + probes if with_tunnels else 0
    return Ours(int(chips or 0), house, tunnels)


def put_day(
    db: Session,
    provider: Provider,
    billing: ProviderBilling,
    day: date,
    vendor_bytes: int,
    ours: Ours,
    *,
    source: str,
    resolution_bytes: int,
    vendor_at: datetime,
    now: datetime,
) -> ProviderUsageDay:
    """Writes what the vendor says of a day beside what we say, at the price in force when the day ended."""
    _begins, ends = day_bounds(day, ZoneInfo(billing.usage_tz))
    price = _price_at(db, provider, ends)
    found = compare(
        vendor_bytes,
        ours,
        overhead_per_tunnel=billing.request_overhead_bytes,
        threshold_percent=billing.threshold_percent,
        resolution_bytes=resolution_bytes,
        cost_per_gb=price.cost_per_gb,
        bytes_per_gb=price.bytes_per_gb,
    )
    row = db.get(ProviderUsageDay, (provider.id, day)) or ProviderUsageDay(provider_id=provider.id, day=day)
    row.source, row.vendor_bytes, row.resolution_bytes = source, vendor_bytes, resolution_bytes
    row.chip_bytes, row.house_bytes, row.tunnels = ours.chip_bytes, ours.house_bytes, ours.tunnels
    row.expected_bytes, row.difference_bytes = found.expected_bytes, found.difference_bytes
    row.difference_percent, row.difference_cost = found.difference_percent, found.difference_cost
    row.verdict, row.vendor_at, row.compared_at = found.verdict.value, vendor_at, now
    db.add(row)
    db.flush()
    return row


def judge_bill(db: Session, provider: Provider, now: datetime) -> None:
    """The newest day that can be judged decides: it differs, so administrators are told; it agrees, so that is over."""
    newest = db.scalar(
        select(ProviderUsageDay)
        .where(ProviderUsageDay.provider_id == provider.id, ProviderUsageDay.verdict != Verdict.UNJUDGED.value)
        .order_by(ProviderUsageDay.day.desc())
        .limit(1)
    )
    if newest is None:
        return
    data = {
        "provider": provider.name,
        "provider_id": str(provider.id),
        "day": newest.day.isoformat(),
        "vendor_gb": in_gb(newest.vendor_bytes),
        "expected_gb": in_gb(newest.expected_bytes),
        "percent": str(newest.difference_percent),
        "cost": f"{newest.difference_cost:.2f}",
    }
    if newest.verdict == Verdict.DIFFERS.value:
        raise_alert(db, MISMATCH, str(provider.id), now=now, severity=Severity.WARNING, data=data)
    else:
        clear_alert(db, MISMATCH, str(provider.id), now=now, data=data)


def note_balance(db: Session, provider: Provider, billing: ProviderBilling, balance_bytes: int, now: datetime) -> None:
    """Keeps what is left at the vendor, and tells administrators when it falls below the provider's line."""
    billing.balance_bytes, billing.balance_at = balance_bytes, now
    line = billing.low_balance_bytes
    data = {"provider": provider.name, "provider_id": str(provider.id), "balance_gb": in_gb(balance_bytes)}
    if line is not None and balance_bytes < line:
        raise_alert(db, LOW_BALANCE, str(provider.id), now=now, severity=Severity.WARNING, data=data)
    else:
        clear_alert(db, LOW_BALANCE, str(provider.id), now=now, data=data)


def in_gb(count: int) -> str:
    """GB of 10⁹ for a text: ``1.234``; below a megabyte with all its places."""
    amount = Decimal(count).scaleb(-9)
    return str(amount.quantize(GB_PLACES) if abs(count) >= 10**6 else amount.normalize())


def _house(db: Session, provider_id: UUID, begins: datetime, ends: datetime, tz: ZoneInfo) -> tuple[int, int]:
    first, last = begins.astimezone(tz).date(), (ends - timedelta(microseconds=1)).astimezone(tz).date()
    rows = db.execute(
        select(ProbeDay.day, func.sum(ProbeDay.bytes), func.sum(ProbeDay.probes))
        .where(ProbeDay.provider_id == provider_id, ProbeDay.day >= first, ProbeDay.day <= last)
        .group_by(ProbeDay.day)
    )
    moved = probes = 0
    for day, day_bytes, day_probes in rows:
        starts, stops = day_bounds(day, tz)
        part = (min(ends, stops) - max(begins, starts)) // SECOND
        whole = (stops - starts) // SECOND
        moved += int(day_bytes) * part // whole
        probes += int(day_probes) * part // whole
    return moved, probes


def _tunnels(db: Session, provider_id: UUID, begins: datetime, ends: datetime, tz: ZoneInfo) -> int:
    """A tunnel's exchange with the vendor is in the row of its first hour. Chips first: the ledger is keyed by them."""
    chips = select(UsageHour.chip_id).where(
        UsageHour.provider_id == provider_id, UsageHour.hour >= begins, UsageHour.hour < ends
    )
    months = {billing_month(moment, tz) for moment in (begins, ends - LEDGER_HOURS)}
    query = select(func.count()).where(
        UsageLog.month_year.in_(months),
        UsageLog.chip_id.in_(chips),
        UsageLog.hour >= begins,
        UsageLog.hour < ends,
        UsageLog.provider_id == provider_id,
        UsageLog.overhead > 0,
    )
    return int(db.scalar(query) or 0)


def _price_at(db: Session, provider: Provider, moment: datetime) -> ProviderPrice | Provider:
    price = db.scalar(
        select(ProviderPrice)
        .where(ProviderPrice.provider_id == provider.id, ProviderPrice.effective_from < moment.astimezone(UTC))
        .order_by(ProviderPrice.effective_from.desc(), ProviderPrice.id.desc())
        .limit(1)
    )
    return price or provider
