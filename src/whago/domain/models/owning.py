"""Finding what somebody owns. The owner comes first; what belongs to another does not exist."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from whago.domain.models.chips import Chip
from whago.errors import WhagoError


def owned_chips(owner_id: UUID) -> Select[Chip]:
    """The living chips of one owner."""
    return select(Chip).where(Chip.user_id == owner_id, Chip.deleted_at.is_(None))


def lock_chip(db: Session, owner_id: UUID, chip_id: UUID) -> Chip:
    """The owner's chip, locked. Raises WhagoError("not_found"), also for another's chip."""
    chip = db.scalars(owned_chips(owner_id).where(Chip.id == chip_id).with_for_update()).one_or_none()
    if chip is None:
        raise WhagoError("not_found")
    return chip


def lock_any_chip(db: Session, chip_id: UUID) -> Chip:
    """Any living chip, locked: for administrators and the product's own clocks."""
    chip = db.scalars(select(Chip).where(Chip.id == chip_id, Chip.deleted_at.is_(None)).with_for_update()).one_or_none()
    if chip is None:
        raise WhagoError("not_found")
    return chip
