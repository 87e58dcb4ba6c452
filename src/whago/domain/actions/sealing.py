"""Rotation of keys: what an earlier secret sealed is sealed again under the newest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, select, update

from whago.domain.models.auditing import audit
from whago.domain.models.sealing import Seal, SealedColumn, seal_of
from whago.kit.crypto import Vault
from whago.kit.db import transaction


def reseal(column: SealedColumn, keys: Collection[UUID], *, vault: Vault) -> tuple[int, frozenset[UUID]]:
    """Seals these rows again; returns how many, and the rows that somebody else holds just now: try those later.

    Never waits for a lock, so it stands in nobody's way and no deadlock is of its making. Rows that changed meanwhile
    are judged as they are now; what no key opens is left as it is.
    """
    rows = select(column.key, column.content).where(column.key.in_(keys)).order_by(column.key)
    with transaction() as db:
        found = db.execute(rows.with_for_update(skip_locked=True)).all()
        old = [(key, stored) for key, stored in found if seal_of(vault, stored) is Seal.OLD]
        if old:
            table = column.key.class_.__table__
            change = update(table).where(table.c[column.key.key] == bindparam("row"))
            resealed = [{"row": key, "sealed": vault.reseal(stored)} for key, stored in old]
            db.connection().execute(change.values({column.content.key: bindparam("sealed")}), resealed)
        there = set(db.scalars(select(column.key).where(column.key.in_(keys))))
        return len(old), frozenset(there - {key for key, _ in found})


def note_rotation(resealed: Mapping[str, int], *, now: datetime) -> None:
    """Puts it into the audit log: how many of what were sealed again."""
    with transaction() as db:
        audit(db, None, "keys.rotate", "secret_key", "current", now, resealed=dict(resealed))
