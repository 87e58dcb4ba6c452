"""The bridges that live, what each holds, and the sealed keys of the chips."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import Bridge, ChipHold, ChipSignalKey
from whago.domain.rules.holds import Load
from whago.errors import WhagoError
from whago.kit.db import reading


def living_bridges(*, now: datetime) -> list[Load]:
    """Those that gave a sign of life lately and take chips, with what each holds; the least full first."""
    with reading() as db:
        return [load for load, draining in _loads(db, now) if not draining]


def all_living_bridges(*, now: datetime) -> list[Load]:
    """Also those that are about to end."""
    with reading() as db:
        return [load for load, _ in _loads(db, now)]


def bridge_of(chip_id: UUID, *, now: datetime) -> str | None:
    """The address of the living bridge that holds the chip; None while nobody does."""
    query = (
        select(Bridge)
        .join(ChipHold, ChipHold.bridge_id == Bridge.id)
        .where(ChipHold.chip_id == chip_id, Bridge.stopped_at.is_(None))
    )
    with reading() as db:
        bridge = db.scalar(query)
    return bridge.url if bridge is not None and bridge.sign().is_fresh(now) else None


def signal_keys(chip_id: UUID, bridge_id: UUID, epoch: int, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """The sealed values that there are. Raises WhagoError("hold_lost") for who does not hold the chip."""
    held = select(ChipHold.chip_id).where(
        ChipHold.chip_id == chip_id, ChipHold.bridge_id == bridge_id, ChipHold.epoch == epoch
    )
    keys = select(ChipSignalKey.name, ChipSignalKey.value).where(
        ChipSignalKey.chip_id == chip_id, ChipSignalKey.name.in_(names)
    )
    with reading() as db:
        if db.scalar(held) is None:
            raise WhagoError("hold_lost")
        return {bytes(name): bytes(value) for name, value in db.execute(keys)}


def _loads(db: Session, now: datetime) -> list[tuple[Load, bool]]:
    held = (
        select(ChipHold.bridge_id, func.count().label("holds"))
        .where(ChipHold.bridge_id.is_not(None))
        .group_by(ChipHold.bridge_id)
        .subquery()
    )
    query = (
        select(Bridge, func.coalesce(held.c.holds, 0))
        .outerjoin(held, held.c.bridge_id == Bridge.id)
        .where(Bridge.stopped_at.is_(None))
        .order_by(Bridge.started_at, Bridge.id)
    )
    return [
        (Load(bridge.id, bridge.url, holds, bridge.max_chips), bridge.is_draining)
        for bridge, holds in db.execute(query)
        if bridge.sign().is_fresh(now)
    ]
