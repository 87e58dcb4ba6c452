"""The stretches of a chip's past that its page draws."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Chip, ChipStatusChange, ExitIpObservation
from whago.domain.models.owning import owned_chips
from whago.domain.rules.timelines import SeenExit, Stretch, exit_stretches, status_stretches
from whago.errors import WhagoError
from whago.kit.db import reading

STRETCHES_MAX: Final = 400  # more than a screen has room for; a chip that changes so often has another trouble


def exit_timeline(owner_id: UUID, chip_id: UUID, *, start: datetime, end: datetime) -> list[Stretch]:
    """Which exit IP the chip had when. Raises WhagoError("not_found")."""
    query = (
        select(ExitIpObservation, Assignment.released_at)
        .join(Assignment, Assignment.id == ExitIpObservation.assignment_id)
        .where(ExitIpObservation.chip_id == chip_id)
        .order_by(ExitIpObservation.first_seen_at.desc(), ExitIpObservation.id)
        .limit(STRETCHES_MAX)
    )
    with reading() as db:
        _check_owner(db, owner_id, chip_id)
        seen = [
            SeenExit(one.assignment_id, str(one.exit_ip), one.first_seen_at, one.last_seen_at, released_at)
            for one, released_at in db.execute(query)
        ]
    return exit_stretches(seen[::-1], start=start, end=end)


def status_timeline(owner_id: UUID, chip_id: UUID, *, start: datetime, end: datetime) -> list[Stretch]:
    """How the chip was when. Raises WhagoError("not_found")."""
    query = (
        select(ChipStatusChange.status, ChipStatusChange.at)
        .where(ChipStatusChange.chip_id == chip_id)
        .order_by(ChipStatusChange.id.desc())
        .limit(STRETCHES_MAX)
    )
    with reading() as db:
        _check_owner(db, owner_id, chip_id)
        changes = [(status, at) for status, at in db.execute(query)]
    return status_stretches(changes[::-1], start=start, end=end)


def _check_owner(db: Session, owner_id: UUID, chip_id: UUID) -> None:
    if db.scalar(owned_chips(owner_id).with_only_columns(Chip.id).where(Chip.id == chip_id)) is None:
        raise WhagoError("not_found")
