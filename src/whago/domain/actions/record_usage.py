"""Commits what gateways metered: ledger, aggregates, leases and thresholds move together or not at all.

Counters are absolute, so a report may be repeated, delayed or split at will: a row takes the greatest of what stands
and what comes, and every aggregate moves by the difference. All of it happens under the locks of the customers' months.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from whago.domain.models import (
    Chip,
    ChipStatus,
    Engine,
    GatewayBoot,
    QuotaLease,
    UserProxyCost,
    ensure_partition,
)
from whago.domain.models.activity import show_activity
from whago.domain.models.archiving import without_archived
from whago.domain.models.dialled import SessionDials, take_dials
from whago.domain.models.ledger import Metered, put_rows
from whago.domain.models.quota import Allowance, allowances, lock_months, settle_months
from whago.domain.models.quota_alerts import tell_threshold
from whago.domain.models.usage import CustomerMonth
from whago.domain.rules.channels import EXHAUSTED_PERCENT, passed_threshold
from whago.domain.rules.months import billing_month
from whago.domain.rules.thresholds import WARNING_PERCENT, OnLimit, is_spent, is_warned
from whago.kit.clock import microseconds
from whago.kit.db import signal, transaction

AFTER_THE_WARNING = timedelta(microseconds=1)  # one report may raise both notices: lists show them in this order


@dataclass(slots=True)
class MeteredUsage:
    """Absolute counters of one tunnel in one clock hour at one price; all in bytes.

    Not frozen, because one is made for every tunnel of every report, and freezing doubles its price.
    """

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

    @property
    def started_us(self) -> int:
        return microseconds(self.started_at)

    @property
    def last_us(self) -> int:
        return microseconds(self.last_at)


def record_usage(
    boot_id: UUID,
    usages: Sequence[Metered],
    *,
    now: datetime,
    tz: ZoneInfo,
    release: Iterable[CustomerMonth] = (),
    open_tunnels: int | None = None,
    dials: Sequence[SessionDials] = (),
    is_last: bool = False,
    is_demo: bool = False,
) -> int:
    """Commits a report and returns how many bytes it added. Repeating it adds 0.

    ``release`` names the (user, month) leases to give back; ``open_tunnels`` is what the boot carries at this moment,
    and renews its other leases. ``dials`` are a hint about the health of proxies. ``is_last`` settles the boot: every
    lease of it is given back, and it gets no more.
    """
    released = set(release)
    with transaction() as db:
        if is_last:
            released |= _end_boot(db, boot_id, now)
        months = {hour: billing_month(hour, tz) for hour in {usage.hour for usage in usages}}
        usages = without_archived(db, usages, months, now=now, tz=tz)
        touched = {(usage.user_id, months[usage.hour]) for usage in usages} | released
        for month in sorted({month for _user, month in touched}):
            ensure_partition(db, month)
        rows = lock_months(db, touched, now)
        moved = put_rows(db, boot_id, usages, months, now=now, is_demo=is_demo)
        plans = allowances(db, {user_id for user_id, _month in rows})
        had_left = [row for row in rows.values() if not is_spent(row.total_bytes, plans[row.user_id].limit)]
        settle_months(db, boot_id, rows, moved, released, now)
        for row in had_left:
            if is_spent(row.total_bytes, plans[row.user_id].limit):
                signal(db, "quota", row.user_id)  # every gateway refuses new tunnels from now on
                _show_blocked(db, row.user_id, plans[row.user_id])
        show_activity(db, moved, {key for key, row in rows.items() if _is_blocked(row, plans[row.user_id])})
        _raise_thresholds(db, rows, plans, now)
        take_dials(db, dials, now)
        if open_tunnels is not None:
            db.execute(
                update(GatewayBoot).where(GatewayBoot.id == boot_id).values(last_seen_at=now, open_tunnels=open_tunnels)
            )
        return sum(month.added_bytes for month in moved)


def _is_blocked(row: UserProxyCost, plan: Allowance) -> bool:
    return plan.on_limit is OnLimit.BLOCK and is_spent(row.total_bytes, plan.limit)


def _end_boot(db: Session, boot_id: UUID, now: datetime) -> set[CustomerMonth]:
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


def _raise_thresholds(
    db: Session, rows: dict[CustomerMonth, UserProxyCost], plans: dict[UUID, Allowance], now: datetime
) -> None:
    """Each threshold once a month. The customer's own ones come between 80 and 100 %, or around them."""
    for (user_id, _month), row in sorted(rows.items(), key=lambda item: item[0]):
        plan = plans[user_id]
        own = passed_threshold(row.total_bytes, plan.limit, plan.thresholds, row.told_percent)
        if own and own < WARNING_PERCENT:
            tell_threshold(db, row, plan, own, now=now)
        if row.warned_at is None and is_warned(row.total_bytes, plan.limit):
            row.warned_at = now
            tell_threshold(db, row, plan, WARNING_PERCENT, now=now)
        if WARNING_PERCENT < own < EXHAUSTED_PERCENT:
            tell_threshold(db, row, plan, own, now=now)
        if row.exhausted_at is None and row.total_bytes > 0 and is_spent(row.total_bytes, plan.limit):
            row.exhausted_at = now
            tell_threshold(db, row, plan, EXHAUSTED_PERCENT, now=now + AFTER_THE_WARNING)
        if own > EXHAUSTED_PERCENT:
            tell_threshold(db, row, plan, own, now=now + AFTER_THE_WARNING)
        row.told_percent = max(row.told_percent, own)
