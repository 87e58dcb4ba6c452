"""Bridges live and die, take chips and give them back, and keep the credentials of the chips that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models import Bridge, Chip, ChipHold, ChipSignalKey
from whago.domain.models.bridges import dead_now, drop_state, lock_held, lock_hold
from whago.domain.rules.holds import DEAD_AFTER, FORGOTTEN_AFTER
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_token


@dataclass(frozen=True, slots=True)
class Claim:
    """What a bridge needs to run a chip. ``state_key`` opens ``creds`` and the signal keys; events go on after
    ``last_event_no``."""

    epoch: int
    last_event_no: int
    state_key: str = field(repr=False)
    creds: bytes | None = field(repr=False)


def beat_bridge(
    bridge_id: UUID, *, url: str, started_at: datetime, max_chips: int, is_draining: bool, now: datetime
) -> None:
    """A sign of life. The first one ends whoever had this address before: two processes cannot listen there."""
    first = insert(Bridge).values(
        id=bridge_id, url=url, started_at=started_at, alive_since=now, last_seen_at=now, max_chips=max_chips
    )
    with transaction() as db:
        # Two beats of one process may be the first: one that is due, and one because a claim found it unknown.
        is_new = db.scalar(first.on_conflict_do_nothing().returning(Bridge.id)) is not None
        bridge = db.get_one(Bridge, bridge_id, with_for_update=True)
        if is_new:
            _end_predecessors(db, bridge, now)
        if bridge.stopped_at is not None or now - bridge.last_seen_at > DEAD_AFTER:
            bridge.alive_since, bridge.stopped_at = now, None
        bridge.url, bridge.max_chips, bridge.is_draining = url, max_chips, is_draining
        bridge.last_seen_at = max(now, bridge.last_seen_at)


def end_bridge(bridge_id: UUID, *, now: datetime) -> None:
    """It said goodbye: its chips are free at once."""
    with transaction() as db:
        db.execute(update(Bridge).where(Bridge.id == bridge_id).values(stopped_at=now))
        _free_chips_of(db, [bridge_id])


def bury_bridges(*, now: datetime) -> list[UUID]:
    """Frees the chips of bridges that died without a word. Returns those bridges."""
    with transaction() as db:
        dead = dead_now(db, now)
        fallen = list(
            db.scalars(select(Bridge.id).where(Bridge.id.in_(dead), Bridge.stopped_at.is_(None)).with_for_update())
        )
        db.execute(update(Bridge).where(Bridge.id.in_(fallen)).values(stopped_at=now))
        _free_chips_of(db, list(dead))
        db.execute(delete(Bridge).where(Bridge.id.in_(dead), Bridge.last_seen_at < now - FORGOTTEN_AFTER))
        return fallen


def claim_chip(chip_id: UUID, bridge_id: UUID, *, vault: Vault, now: datetime) -> Claim:
    """The chip is this bridge's from now on, whatever an earlier holder still writes is refused.

    Raises WhagoError: not_found (there is no such chip), bridge_unknown (it gave no sign of life lately), chip_held
    (another living bridge has it), unavailable (no key of the vault opens the chip's own).
    """
    with transaction() as db:
        chip = db.scalars(select(Chip).where(Chip.id == chip_id, Chip.deleted_at.is_(None))).one_or_none()
        if chip is None:
            raise WhagoError("not_found")
        bridge = db.get(Bridge, bridge_id)
        if bridge is None or not bridge.sign().is_fresh(now):
            raise WhagoError("bridge_unknown")
        hold = lock_hold(db, chip_id)
        if hold.bridge_id not in (None, bridge_id) and hold.bridge_id not in dead_now(db, now):
            raise WhagoError("chip_held")
        hold.bridge_id, hold.held_since = bridge_id, now
        hold.epoch += 1
        if hold.last_bridge_id != bridge_id:
            hold.last_bridge_id, hold.first_epoch = bridge_id, hold.epoch
        if not hold.state_key:
            hold.state_key = vault.seal({"key": new_token()})
        return Claim(hold.epoch, chip.bridge_event_no, vault.open(hold.state_key)["key"], hold.creds)


def write_state(
    chip_id: UUID,
    bridge_id: UUID,
    epoch: int,
    *,
    creds: bytes | None,
    keys: Mapping[bytes, bytes | None],
    clear: bool = False,
    now: datetime,
) -> None:
    """All of it or nothing: ``clear`` first, then signal keys by name (None removes one), and ``creds`` when given.

    Raises WhagoError("hold_lost") for a bridge that does not hold the chip any more.
    """
    removed = [name for name, value in keys.items() if value is None]
    kept = [(name, value) for name, value in keys.items() if value is not None]
    with transaction() as db:
        hold = lock_held(db, chip_id, bridge_id, epoch)
        if clear:
            db.execute(delete(ChipSignalKey).where(ChipSignalKey.chip_id == chip_id))
        if removed:
            db.execute(
                delete(ChipSignalKey).where(ChipSignalKey.chip_id == chip_id, ChipSignalKey.name == func.any(removed))
            )
        if kept:
            db.execute(
                text(
                    "INSERT INTO chip_signal_keys (chip_id, name, value)"
                    " SELECT :chip_id, * FROM unnest(CAST(:names AS bytea[]), CAST(:values AS bytea[]))"
                    " ON CONFLICT (chip_id, name) DO UPDATE SET value = EXCLUDED.value"
                ),
                {"chip_id": chip_id, "names": [name for name, _ in kept], "values": [value for _, value in kept]},
            )
        if creds is not None:
            hold.creds = creds
        hold.written_at = now


def release_chip(chip_id: UUID, bridge_id: UUID, epoch: int, *, wipe: bool) -> None:
    """The chip is nobody's. With ``wipe`` its linked device is forgotten, because WhatsApp or its owner ended it.

    Raises WhagoError("hold_lost").
    """
    with transaction() as db:
        hold = lock_held(db, chip_id, bridge_id, epoch)
        hold.bridge_id = None
        if wipe:
            drop_state(db, hold)


def forget_chip(chip_id: UUID, bridge_id: UUID, *, now: datetime) -> None:
    """Removes the linked device of a chip that does not run. Raises WhagoError("chip_held") when it does, elsewhere."""
    with transaction() as db:
        hold = db.scalars(select(ChipHold).where(ChipHold.chip_id == chip_id).with_for_update()).one_or_none()
        if hold is None:
            return
        if hold.bridge_id not in (None, bridge_id) and hold.bridge_id not in dead_now(db, now):
            raise WhagoError("chip_held")
        hold.bridge_id = None
        drop_state(db, hold)


def _end_predecessors(db: Session, heir: Bridge, now: datetime) -> None:
    there = select(Bridge.id).where(Bridge.url == heir.url, Bridge.id != heir.id, Bridge.stopped_at.is_(None))
    before = list(db.scalars(there.with_for_update()))
    db.execute(update(Bridge).where(Bridge.id.in_(before)).values(stopped_at=now))
    _free_chips_of(db, before)


def _free_chips_of(db: Session, bridge_ids: list[UUID]) -> None:
    """The epoch stays: the next claim makes it grow, and until then the missing holder refuses late writes."""
    db.execute(update(ChipHold).where(ChipHold.bridge_id.in_(bridge_ids)).values(bridge_id=None))
