"""Commits what gateways metered: ledger, aggregates, leases and thresholds move together or not at all.

Counters are absolute, so a report may be repeated, delayed or split at will: a row takes the greatest of what stands
and what comes, and every aggregate moves by the difference. All of it happens under the locks of the customers' months.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models import (
    Chip,
    ChipStatus,
    ChipUsageMonth,
    Engine,
    GatewayBoot,
    Notification,
    ProviderPrice,
    Proxy,
    QuotaLease,
    UsageHour,
    UsageLog,
    UserProxyCost,
    ensure_partition,
)
from whago.domain.models.quota import Allowance, allowances, lock_months
from whago.domain.rules.months import billing_month
from whago.domain.rules.pricing import cost_of
from whago.domain.rules.thresholds import OnLimit, is_spent, is_warned, percentage
from whago.kit.db import signal, transaction
from whago.kit.ids import new_id

AFTER_THE_WARNING = timedelta(microseconds=1)  # one report may raise both notices: lists show them in this order


@dataclass(frozen=True, slots=True)
class MeteredUsage:
    """Absolute counters of one tunnel in one clock hour at one price; all in bytes."""

    tunnel_id: int
    user_id: UUID
    chip_id: UUID
    proxy_id: UUID
    assignment_id: UUID
    price_id: int
    hour: datetime
    bytes_up: int
    bytes_down: int
    overhead: int
    started_at: datetime
    last_at: datetime


@dataclass(slots=True)
class _Moved:
    """What one ledger row moves the aggregates by."""

    usage: MeteredUsage
    month: date
    provider_id: UUID
    added_bytes: int
    added_cost: Decimal


Key = tuple[int, datetime, int]
Month = tuple[UUID, date]


def record_usage(
    boot_id: UUID,
    usages: Sequence[MeteredUsage],
    *,
    now: datetime,
    tz: ZoneInfo,
    release: Iterable[Month] = (),
    open_tunnels: int | None = None,
    is_last: bool = False,
    is_demo: bool = False,
) -> int:
    """Commits a report and returns how many bytes it added. Repeating it adds 0.

    ``release`` names the (user, month) leases to give back; ``open_tunnels`` is what the boot carries at this moment,
    and renews its other leases. ``is_last`` settles the boot: every lease of it is given back, and it gets no more.
    """
    released = set(release)
    with transaction() as db:
        if is_last:
            released |= _end_boot(db, boot_id, now)
        months = {(usage.user_id, billing_month(usage.hour, tz)) for usage in usages} | released
        for month in sorted({month for _user, month in months}):
            ensure_partition(db, month)
        rows = lock_months(db, months, now)
        moved = _write_ledger(db, boot_id, usages, tz, is_demo=is_demo)
        _add_to_rollups(db, moved)
        plans = allowances(db, {user_id for user_id, _month in rows})
        _add_to_months(db, moved, rows, plans, now)
        _show_activity(db, moved, rows, plans)
        _settle_leases(db, boot_id, moved, rows, released)
        _raise_thresholds(db, rows, plans, now)
        if open_tunnels is not None:
            db.execute(
                update(GatewayBoot).where(GatewayBoot.id == boot_id).values(last_seen_at=now, open_tunnels=open_tunnels)
            )
        return sum(entry.added_bytes for entry in moved)


def _write_ledger(
    db: Session, boot_id: UUID, usages: Sequence[MeteredUsage], tz: ZoneInfo, *, is_demo: bool
) -> list[_Moved]:
    if not usages:
        return []
    standing = _standing_rows(db, boot_id, usages, tz)
    prices = _prices(db, {usage.price_id for usage in usages})
    values, moved = [], []
    for usage in _greatest_of_each_key(usages):
        price = prices[usage.price_id]
        row = standing.get(_key(usage))
        up, down, overhead = (
            (usage.bytes_up, usage.bytes_down, usage.overhead)
            if row is None
            else (
                max(usage.bytes_up, row.bytes_up),
                max(usage.bytes_down, row.bytes_down),
                max(usage.overhead, row.overhead),
            )
        )
        total = up + down + overhead
        cost = cost_of(total, price.cost_per_gb, price.bytes_per_gb)
        before, cost_before = (0, Decimal(0)) if row is None else (row.bytes_transferred, row.cost)
        if total == before:
            continue
        month = billing_month(usage.hour, tz)
        moved.append(_Moved(usage, month, price.provider_id, total - before, cost - cost_before))
        values.append(
            {
                "id": new_id(),
                "month_year": month,
                "boot_id": boot_id,
                "tunnel_id": usage.tunnel_id,
                "hour": usage.hour,
                "price_id": usage.price_id,
                "user_id": usage.user_id,
                "chip_id": usage.chip_id,
                "proxy_id": usage.proxy_id,
                "provider_id": price.provider_id,
                "assignment_id": usage.assignment_id,
                "bytes_up": up,
                "bytes_down": down,
                "overhead": overhead,
                "bytes_transferred": total,
                "session_start": usage.started_at if row is None else min(usage.started_at, row.session_start),
                "session_end": usage.last_at if row is None else max(usage.last_at, row.session_end),
                "cost_per_gb": price.cost_per_gb,
                "bytes_per_gb": price.bytes_per_gb,
                "cost": cost,
                "is_demo": is_demo,
            }
        )
    if values:
        new = insert(UsageLog)
        changing = ("bytes_up", "bytes_down", "overhead", "bytes_transferred", "session_start", "session_end", "cost")
        db.execute(
            new.on_conflict_do_update(
                index_elements=["month_year", "boot_id", "tunnel_id", "hour", "price_id"],
                set_={name: new.excluded[name] for name in changing},
            ),
            values,
        )
    return moved


def _standing_rows(db: Session, boot_id: UUID, usages: Sequence[MeteredUsage], tz: ZoneInfo) -> dict[Key, UsageLog]:
    found = db.scalars(
        select(UsageLog).where(
            UsageLog.month_year.in_({billing_month(usage.hour, tz) for usage in usages}),
            UsageLog.boot_id == boot_id,
            tuple_(UsageLog.tunnel_id, UsageLog.hour, UsageLog.price_id).in_([_key(usage) for usage in usages]),
        )
    )
    return {(row.tunnel_id, row.hour, row.price_id): row for row in found}


def _prices(db: Session, ids: set[int]) -> dict[int, ProviderPrice]:
    return {price.id: price for price in db.scalars(select(ProviderPrice).where(ProviderPrice.id.in_(ids)))}


def _greatest_of_each_key(usages: Sequence[MeteredUsage]) -> list[MeteredUsage]:
    greatest: dict[Key, MeteredUsage] = {}
    for usage in usages:
        other = greatest.get(_key(usage))
        if other is None or _total(usage) > _total(other):
            greatest[_key(usage)] = usage
    return list(greatest.values())


def _key(usage: MeteredUsage) -> Key:
    return (usage.tunnel_id, usage.hour, usage.price_id)


def _total(usage: MeteredUsage) -> int:
    return usage.bytes_up + usage.bytes_down + usage.overhead


def _add_to_rollups(db: Session, moved: Sequence[_Moved]) -> None:
    """Hours, chip months and proxy totals. Keys are sorted, so that two reports take row locks in one order."""
    by_hour: dict[tuple[UUID, UUID, datetime], list[Any]] = defaultdict(lambda: [None, 0, Decimal(0)])
    by_chip: dict[tuple[UUID, date], list[Any]] = defaultdict(lambda: [None, 0, Decimal(0)])
    by_proxy: dict[UUID, int] = defaultdict(int)
    for entry in moved:
        usage = entry.usage
        for bucket in (
            by_hour[usage.chip_id, entry.provider_id, usage.hour],
            by_chip[usage.chip_id, entry.month],
        ):
            bucket[0] = usage.user_id
            bucket[1] += entry.added_bytes
            bucket[2] += entry.added_cost
        by_proxy[usage.proxy_id] += entry.added_bytes
    _upsert_sums(db, UsageHour, ("chip_id", "provider_id", "hour"), by_hour)
    _upsert_sums(db, ChipUsageMonth, ("chip_id", "month_year"), by_chip)
    if by_proxy:
        table = Proxy.__table__
        db.connection().execute(
            update(Proxy)
            .where(table.c.id == bindparam("key"))
            .values(total_bytes_used=table.c.total_bytes_used + bindparam("added")),
            [{"key": proxy_id, "added": by_proxy[proxy_id]} for proxy_id in sorted(by_proxy)],
        )


def _show_activity(
    db: Session, moved: Sequence[_Moved], rows: dict[Month, UserProxyCost], plans: dict[UUID, Allowance]
) -> None:
    """When each chip last moved bytes. A chip whose row somebody holds is left out: the next report comes soon.

    Nobody but the gateway sees what an external engine does, so its bytes are what says that it is connected.
    """
    latest: dict[UUID, datetime] = {}
    stopped: set[UUID] = set()
    for entry in moved:
        usage, plan = entry.usage, plans[entry.usage.user_id]
        latest[usage.chip_id] = max(usage.last_at, latest.get(usage.chip_id, usage.last_at))
        if plan.on_limit is OnLimit.BLOCK and is_spent(rows[usage.user_id, entry.month].total_bytes, plan.limit):
            stopped.add(usage.chip_id)
    chips = db.scalars(
        select(Chip)
        .where(Chip.id.in_(latest), Chip.deleted_at.is_(None))
        .order_by(Chip.id)
        .with_for_update(skip_locked=True)
    )
    for chip in chips:
        chip.show_activity(latest[chip.id], may_go_on=chip.id not in stopped)


def _upsert_sums(db: Session, model: Any, names: tuple[str, ...], sums: dict[Any, list[Any]]) -> None:
    if not sums:
        return
    new = insert(model)
    db.execute(
        new.on_conflict_do_update(
            index_elements=list(names),
            set_={
                "total_bytes": model.total_bytes + new.excluded.total_bytes,
                "total_cost": model.total_cost + new.excluded.total_cost,
            },
        ),
        [
            dict(zip(names, key, strict=True)) | {"user_id": user_id, "total_bytes": count, "total_cost": cost}
            for key, (user_id, count, cost) in sorted(sums.items(), key=lambda item: item[0])
        ],
    )


def _end_boot(db: Session, boot_id: UUID, now: datetime) -> set[Month]:
    """Marks the boot settled and returns the months in which it holds a lease."""
    db.execute(
        update(GatewayBoot)
        .where(GatewayBoot.id == boot_id)
        .values(
            settled_at=func.coalesce(GatewayBoot.settled_at, now),
            stopped_at=func.coalesce(GatewayBoot.stopped_at, now),
            open_tunnels=0,
        )
    )
    leases = db.execute(select(QuotaLease.user_id, QuotaLease.month_year).where(QuotaLease.boot_id == boot_id))
    return {(user_id, month) for user_id, month in leases}


def _add_to_months(
    db: Session,
    moved: Sequence[_Moved],
    rows: dict[Month, UserProxyCost],
    plans: dict[UUID, Allowance],
    now: datetime,
) -> None:
    for entry in moved:
        row, plan = rows[entry.usage.user_id, entry.month], plans[entry.usage.user_id]
        was_spent = is_spent(row.total_bytes, plan.limit)
        row.total_bytes += entry.added_bytes
        row.total_cost += entry.added_cost
        row.last_updated = now
        if not was_spent and is_spent(row.total_bytes, plan.limit):
            signal(db, "quota", row.user_id)  # every gateway refuses new tunnels from now on
            _show_blocked(db, row.user_id, plan)


def _show_blocked(db: Session, user_id: UUID, plan: Allowance) -> None:
    """External engines tell nobody that they were cut off; the bridge tells it of its own chips."""
    if plan.on_limit is not OnLimit.BLOCK:
        return
    running = (ChipStatus.CREATED, ChipStatus.CONNECTED, ChipStatus.DISCONNECTED)
    chips = db.scalars(
        select(Chip)
        .where(
            Chip.user_id == user_id,
            Chip.engine == Engine.EXTERNAL,
            Chip.status.in_(running),
            Chip.deleted_at.is_(None),
        )
        .with_for_update(skip_locked=True)
    )
    for chip in chips:
        chip.status, chip.status_reason = ChipStatus.BLOCKED_QUOTA, "quota_exhausted"


def _settle_leases(
    db: Session,
    boot_id: UUID,
    moved: Sequence[_Moved],
    rows: dict[Month, UserProxyCost],
    released: set[Month],
) -> None:
    used: dict[Month, int] = defaultdict(int)
    for entry in moved:
        used[entry.usage.user_id, entry.month] += entry.added_bytes
    leases = db.scalars(
        select(QuotaLease).where(
            QuotaLease.boot_id == boot_id, tuple_(QuotaLease.user_id, QuotaLease.month_year).in_(list(rows))
        )
    ).all()
    for lease in leases:
        key = (lease.user_id, lease.month_year)
        before = lease.outstanding_bytes
        lease.used_bytes += used.get(key, 0)
        if key in released:
            lease.granted_bytes = lease.used_bytes
            lease.state = "released"
        rows[key].leased_bytes += lease.outstanding_bytes - before


def _raise_thresholds(
    db: Session, rows: dict[Month, UserProxyCost], plans: dict[UUID, Allowance], now: datetime
) -> None:
    for (user_id, _month), row in sorted(rows.items(), key=lambda item: item[0]):
        plan = plans[user_id]
        if row.warned_at is None and is_warned(row.total_bytes, plan.limit):
            row.warned_at = now
            _notify(db, "quota_warning", "warning", row, plan, now)
        if row.exhausted_at is None and row.total_bytes > 0 and is_spent(row.total_bytes, plan.limit):
            row.exhausted_at = now
            _notify(db, "quota_exhausted", "error", row, plan, now + AFTER_THE_WARNING)


def _notify(db: Session, kind: str, level: str, row: UserProxyCost, plan: Allowance, now: datetime) -> None:
    db.execute(
        insert(Notification)
        .values(
            user_id=row.user_id,
            kind=kind,
            level=level,
            dedupe_key=f"{kind}:{row.month_year:%Y-%m}",
            data={
                "month": f"{row.month_year:%Y-%m}",
                "used_bytes": row.total_bytes,
                "limit_bytes": plan.limit,
                "percentage": percentage(row.total_bytes, plan.limit),
                "on_limit": plan.on_limit.value,
            },
            created_at=now,
        )
        .on_conflict_do_nothing()
    )
