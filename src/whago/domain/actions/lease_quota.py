"""Leases of a customer's quota: reserve before use, so that committed + outstanding never passes the limit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from whago.domain.models import GatewayBoot, QuotaLease, UsageLog, UserProxyCost
from whago.domain.models.quota import allowances, lock_months
from whago.domain.rules.lease import SERVER_VALID_S, Give, LeaseDecision, Recall, decide_lease
from whago.errors import WhagoError
from whago.kit.db import signal, transaction


@dataclass(frozen=True, slots=True)
class Leased:
    """The rule's decision, and the boot's cumulative grant of bytes after it."""

    decision: LeaseDecision
    granted_bytes: int


def lease_quota(boot_id: UUID, user_id: UUID, month: date, *, want: int, now: datetime) -> Leased:
    """Asks for ``want`` bytes more for a gateway boot; 0 only asks whether new tunnels are admitted.

    Raises WhagoError("not_found") for a customer that is gone and WhagoError("conflict") for a boot that was settled.
    """
    with transaction() as db:
        row = lock_months(db, [(user_id, month)], now)[user_id, month]
        plan = allowances(db, [user_id]).get(user_id)
        if plan is None:
            raise WhagoError("not_found")
        lease = _lease(db, boot_id, row, now)
        own = lease.outstanding_bytes
        decision = decide_lease(
            limit=plan.limit,
            on_limit=plan.on_limit,
            committed=row.total_bytes,
            own_outstanding=own,
            other_outstanding=row.leased_bytes - own,
            want=want,
        )
        if isinstance(decision, Give):
            lease.granted_bytes = max(lease.granted_bytes, lease.used_bytes) + decision.lease_bytes
            row.leased_bytes += lease.outstanding_bytes - own
        if isinstance(decision, Recall):
            signal(db, "quota", user_id)
        lease.state = "open"
        lease.expires_at = now + timedelta(seconds=SERVER_VALID_S)
        return Leased(decision, lease.granted_bytes)


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


def _lease(db: Session, boot_id: UUID, row: UserProxyCost, now: datetime) -> QuotaLease:
    lease = db.get(QuotaLease, (boot_id, row.user_id, row.month_year))
    if lease is not None:
        return lease
    boot = db.scalar(select(GatewayBoot.settled_at).where(GatewayBoot.id == boot_id))
    if boot is not None:
        raise WhagoError("conflict")
    lease = QuotaLease(
        boot_id=boot_id,
        user_id=row.user_id,
        month_year=row.month_year,
        granted_bytes=0,
        used_bytes=_used_before(db, boot_id, row),
        state="open",
        created_at=now,
        expires_at=now,
    )
    db.add(lease)
    return lease


def _used_before(db: Session, boot_id: UUID, row: UserProxyCost) -> int:
    """What the boot has already reported without a lease, since both figures of a lease are cumulative."""
    used = select(func.coalesce(func.sum(UsageLog.bytes_transferred), 0)).where(
        UsageLog.month_year == row.month_year, UsageLog.boot_id == boot_id, UsageLog.user_id == row.user_id
    )
    return int(db.scalar(used) or 0)
