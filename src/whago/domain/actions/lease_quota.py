"""Leases of a customer's quota: reserve before use, so that committed + outstanding never passes the limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from whago.domain.models import GatewayBoot, QuotaLease, UsageLog
from whago.domain.models.quota import allowances, lock_months
from whago.domain.rules.lease import SERVER_VALID_S, Give, LeaseDecision, Recall, decide_lease
from whago.errors import WhagoError
from whago.kit.db import signal, transaction


@dataclass(frozen=True, slots=True)
class Leased:
    """The rule's decision, and the boot's cumulative grant of bytes after it."""

    decision: LeaseDecision
    granted_bytes: int


# Plain statements: a gateway at full speed asks for dozens of leases a second, and this is its busiest question.
_LOCK_MONTH: Final = text(
    "SELECT total_bytes, leased_bytes FROM user_proxy_costs WHERE user_id = :user_id AND month_year = :month FOR UPDATE"
)
_LEASE: Final = text(
    "SELECT granted_bytes, used_bytes, settled_at FROM quota_leases JOIN gateway_boots ON id = boot_id"
    " WHERE boot_id = :boot_id AND user_id = :user_id AND month_year = :month"
)
_PUT_LEASE: Final = text(
    """
    WITH lease AS (
        INSERT INTO quota_leases (
            boot_id, user_id, month_year, granted_bytes, used_bytes, state, created_at, expires_at
        )
        VALUES (:boot_id, :user_id, :month, :granted, :used, 'open', :now, :expires_at)
            ON CONFLICT (boot_id, user_id, month_year) DO UPDATE
           SET granted_bytes = excluded.granted_bytes, state = excluded.state, expires_at = excluded.expires_at
    )
    UPDATE user_proxy_costs SET leased_bytes = leased_bytes + :more WHERE user_id = :user_id AND month_year = :month
    """
)


def lease_quota(boot_id: UUID, user_id: UUID, month: date, *, want: int, now: datetime) -> Leased:
    """Asks for ``want`` bytes more for a gateway boot; 0 only asks whether new tunnels are admitted.

    Raises WhagoError("not_found") for a customer that is gone and WhagoError("conflict") for a boot that was settled.
    """
    with transaction() as db:
        total_bytes, leased_bytes = _lock_month(db, user_id, month, now)
        plan = allowances(db, [user_id]).get(user_id)
        if plan is None:
            raise WhagoError("not_found")
        granted, used = _standing_lease(db, boot_id, user_id, month)
        own = max(0, granted - used)
        decision = decide_lease(
            limit=plan.limit,
            on_limit=plan.on_limit,
            committed=total_bytes,
            own_outstanding=own,
            other_outstanding=leased_bytes - own,
            want=want,
        )
        if isinstance(decision, Give):
            granted = max(granted, used) + decision.lease_bytes
        if isinstance(decision, Recall):
            signal(db, "quota", user_id)
        db.execute(
            _PUT_LEASE,
            {
                "boot_id": boot_id,
                "user_id": user_id,
                "month": month,
                "granted": granted,
                "used": used,
                "more": max(0, granted - used) - own,
                "now": now,
                "expires_at": now + timedelta(seconds=SERVER_VALID_S),
            },
        )
        return Leased(decision, granted)


def expire_leases(*, now: datetime) -> int:
    """Marks the leases of boots that gave no sign of life; returns how many.

    A report renews every lease of its boot. The bytes stay reserved until the boot is settled: they may be spent.
    """
    with transaction() as db:
        expired = db.scalars(
            update(QuotaLease)
            .where(
                QuotaLease.state == "open",
                QuotaLease.expires_at < now,
                QuotaLease.boot_id == GatewayBoot.id,
                GatewayBoot.last_seen_at < now - timedelta(seconds=SERVER_VALID_S),
            )
            .values(state="expired")
            .returning(QuotaLease.user_id)
        )
        return len(expired.all())


def _lock_month(db: Session, user_id: UUID, month: date, now: datetime) -> tuple[int, int]:
    """Committed and leased bytes, under the lock of the customer's month."""
    key = {"user_id": user_id, "month": month}
    row = db.execute(_LOCK_MONTH, key).one_or_none()
    if row is None:
        lock_months(db, [(user_id, month)], now)
        row = db.execute(_LOCK_MONTH, key).one()
    return row.total_bytes, row.leased_bytes


def _standing_lease(db: Session, boot_id: UUID, user_id: UUID, month: date) -> tuple[int, int]:
    """Bytes granted and used so far by this boot. Read after the month is locked, since reports move them, too."""
    lease = db.execute(_LEASE, {"boot_id": boot_id, "user_id": user_id, "month": month}).one_or_none()
    if lease is not None:
        if lease.settled_at is not None:  # its leases went to others when it was taken for dead
            raise WhagoError("conflict")
        return lease.granted_bytes, lease.used_bytes
    if db.scalar(select(GatewayBoot.settled_at).where(GatewayBoot.id == boot_id)) is not None:
        raise WhagoError("conflict")
    return 0, _used_before(db, boot_id, user_id, month)


def _used_before(db: Session, boot_id: UUID, user_id: UUID, month: date) -> int:
    """What the boot has already reported without a lease, since both figures of a lease are cumulative."""
    used = select(func.coalesce(func.sum(UsageLog.bytes_transferred), 0)).where(
        UsageLog.month_year == month, UsageLog.boot_id == boot_id, UsageLog.user_id == user_id
    )
    return int(db.scalar(used) or 0)
