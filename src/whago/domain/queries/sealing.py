"""What is sealed, and under which key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import select

from whago.domain.models.sealing import Seal, SealedColumn, seal_of
from whago.kit.crypto import Vault
from whago.kit.db import transaction

BATCH_ROWS: Final = 200  # some ten milliseconds of deciphering, and a few locks for as long


@dataclass(frozen=True, slots=True)
class Look:
    """One batch of rows that hold something sealed. ``last`` None: there are no more."""

    last: UUID | None
    rows: int
    old: tuple[UUID, ...]
    shut: tuple[UUID, ...]


def look_at_seals(column: SealedColumn, after: UUID | None, *, vault: Vault, limit: int = BATCH_ROWS) -> Look:
    """The next rows in the order of their keys. Locks nothing."""
    query = select(column.key, column.content).where(column.content != {}).order_by(column.key).limit(limit)
    with transaction() as db:
        rows = db.execute(query if after is None else query.where(column.key > after)).all()
    seals = [(key, seal_of(vault, stored)) for key, stored in rows]
    return Look(
        last=rows[-1][0] if len(rows) == limit else None,
        rows=len(rows),
        old=tuple(key for key, seal in seals if seal is Seal.OLD),
        shut=tuple(key for key, seal in seals if seal is Seal.SHUT),
    )
