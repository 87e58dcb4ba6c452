"""Changing a chip's exit by hand: "trocar proxy" of its owner, "force this proxy" of an administrator."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Chip, ChipStatus, Engine, Proxy
from whago.domain.models.assigning import ASSIGNING, active_assignment, assign, move
from whago.domain.models.auditing import audit
from whago.domain.models.owning import lock_any_chip, lock_chip
from whago.errors import WhagoError
from whago.kit.db import locked, transaction

ROTATIONS_PER_DAY = 10  # unless the settings say otherwise: more than this is a loop, not a wish
ROTATED_BY_USER = "rotated_by_user"
FORCED = "forced_by_admin"


def rotate_proxy(owner_id: UUID, chip_id: UUID, *, now: datetime, per_day: int = ROTATIONS_PER_DAY) -> Assignment:
    """A new sticky identifier; for a static IP another proxy. At most ``per_day`` within 24 hours.

    Raises WhagoError: rotation_limit, no_healthy_proxy.
    """
    with transaction() as db:
        locked(db, ASSIGNING)
        chip = lock_chip(db, owner_id, chip_id)
        _check_daily_limit(db, chip.id, per_day, now)
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
        _leave_waiting(chip)
        return True


def _check_daily_limit(db: Session, chip_id: UUID, per_day: int, now: datetime) -> None:
    recent = db.scalar(
        select(func.count()).where(
            Assignment.chip_id == chip_id,
            Assignment.assign_reason == ROTATED_BY_USER,
            Assignment.assigned_at > now - timedelta(days=1),
        )
    )
    if (recent or 0) >= per_day:
        raise WhagoError("rotation_limit", limit=per_day)


def _leave_waiting(chip: Chip) -> None:
    """External engines come back by themselves; a chip on our bridges is started again by their clock."""
    if chip.status == ChipStatus.WAITING_PROXY:
        resumes = chip.engine == Engine.BRIDGE
        chip.status = ChipStatus.CONNECTING if resumes else ChipStatus.DISCONNECTED
        chip.status_reason = None
