"""Changing a chip's exit by hand: "trocar proxy" of its owner, "force this proxy" of an administrator."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Chip, ChipStatus, ExitIpObservation, Proxy
from whago.domain.models.assigning import ASSIGNING, active_assignment, assign, move, note
from whago.domain.models.auditing import audit
from whago.domain.models.owning import lock_any_chip, lock_chip
from whago.errors import WhagoError
from whago.kit.db import locked, transaction

ROTATIONS_PER_DAY = 10  # each costs a new login at the provider; more than this is a loop, not a wish
ROTATED_BY_USER = "rotated_by_user"
FORCED = "forced_by_admin"


def rotate_proxy(owner_id: UUID, chip_id: UUID, *, now: datetime) -> Assignment:
    """A new sticky identifier; for a static IP another proxy. Raises WhagoError: rotation_limit, no_healthy_proxy."""
    with transaction() as db:
        locked(db, ASSIGNING)
        chip = lock_chip(db, owner_id, chip_id)
        _check_daily_limit(db, chip.id, now)
        current = active_assignment(db, chip.id)
        avoid = [current.proxy_id] if current is not None and current.is_exclusive else []
        moved = move(db, chip, reason=ROTATED_BY_USER, now=now, avoid=avoid)
        _leave_waiting(chip)
        return moved


def force_proxy(admin_id: UUID, chip_id: UUID, proxy_id: UUID, *, now: datetime) -> Assignment:
    """Puts a chip on a given proxy, whatever its health. Raises WhagoError: not_found, proxy_full, no_healthy_proxy."""
    with transaction() as db:
        locked(db, ASSIGNING)
        chip = lock_any_chip(db, chip_id)
        if db.scalar(select(Proxy.id).where(Proxy.id == proxy_id, Proxy.deleted_at.is_(None))) is None:
            raise WhagoError("not_found")
        moved = move(db, chip, reason=FORCED, now=now, only=proxy_id)
        _leave_waiting(chip)
        audit(db, admin_id, "chip.force_proxy", "chip", chip_id, now, proxy_id=str(proxy_id))
        return moved


def give_waiting_chip_a_proxy(chip_id: UUID, *, now: datetime) -> bool:
    """Tries again for a chip that lost its proxy when the pool was empty."""
    with transaction() as db:
        locked(db, ASSIGNING)
        chip = lock_any_chip(db, chip_id)
        if chip.status != ChipStatus.WAITING_PROXY or active_assignment(db, chip.id) is not None:
            return False
        assign(db, chip, reason="pool_recovered", now=now)
        chip.status, chip.status_reason = ChipStatus.DISCONNECTED, None
        return True


def observe_exit_ip(assignment_id: UUID, exit_ip: str, *, country: str | None, asn: str | None, now: datetime) -> bool:
    """Records what the world saw. Returns whether it differs from what was seen last for this assignment."""
    with transaction() as db:
        assignment = db.scalars(
            select(Assignment).where(Assignment.id == assignment_id).with_for_update()
        ).one_or_none()
        if assignment is None:
            raise WhagoError("not_found")
        last = db.scalar(
            select(ExitIpObservation)
            .where(ExitIpObservation.assignment_id == assignment_id)
            .order_by(ExitIpObservation.first_seen_at.desc())
            .limit(1)
        )
        before = assignment.exit_ip
        assignment.exit_ip = exit_ip
        if last is not None and str(last.exit_ip) == exit_ip:
            last.last_seen_at, last.observations = now, last.observations + 1
            return False
        db.add(
            ExitIpObservation(
                chip_id=assignment.chip_id,
                assignment_id=assignment.id,
                exit_ip=exit_ip,
                country=country,
                asn=asn,
                first_seen_at=now,
                last_seen_at=now,
            )
        )
        if before is not None:
            note(db, assignment.chip_id, "exit_ip_changed", now, before=str(before), after=exit_ip)
        return before is not None


def _check_daily_limit(db: Session, chip_id: UUID, now: datetime) -> None:
    recent = db.scalar(
        select(func.count()).where(
            Assignment.chip_id == chip_id,
            Assignment.assign_reason == ROTATED_BY_USER,
            Assignment.assigned_at > now - timedelta(days=1),
        )
    )
    if (recent or 0) >= ROTATIONS_PER_DAY:
        raise WhagoError("rotation_limit", limit=ROTATIONS_PER_DAY)


def _leave_waiting(chip: Chip) -> None:
    if chip.status == ChipStatus.WAITING_PROXY:
        chip.status, chip.status_reason = ChipStatus.DISCONNECTED, None
