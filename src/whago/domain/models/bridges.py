"""The bridge processes, which of them holds which chip, and the sealed credentials of the chips' linked devices."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, LargeBinary, Text, and_, delete, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from whago.domain.models.accounts import User
from whago.domain.models.base import Base
from whago.domain.models.chips import Chip, ChipStatus
from whago.domain.rules.holds import SignOfLife, dead_bridges, fell_silent, is_missed
from whago.errors import WhagoError

MEANT_TO_RUN: Final = (ChipStatus.CONNECTING, ChipStatus.WAITING_QR, ChipStatus.CONNECTED)  # with a proxy and quota


class Bridge(Base):
    """One life of one bridge process; it chose the id when it started. ``url``: where its API answers."""

    __tablename__ = "bridges"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    url: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    alive_since: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    max_chips: Mapped[int]
    is_draining: Mapped[bool] = mapped_column(default=False, server_default="false")

    def sign(self) -> SignOfLife:
        return SignOfLife(self.id, self.last_seen_at, self.alive_since, stopped=self.stopped_at is not None)


class ChipHold(Base):
    """Who runs a chip (``bridge_id`` None: nobody), and the credentials of its linked device.

    ``epoch`` grows with every claim: a write under an older one comes from a bridge that lost the chip. ``first_epoch``
    is where ``last_bridge_id`` began: what it tells of its own earlier holds is late, and still true. ``state_key``
    is the chip's own key, sealed by the vault; ``creds`` and the signal keys are sealed with it by the bridge, so
    that a change of the product's secret means sealing one row of each chip again.
    """

    __tablename__ = "chip_holds"

    chip_id: Mapped[UUID] = mapped_column(ForeignKey("chips.id"), primary_key=True)
    bridge_id: Mapped[UUID | None] = mapped_column(ForeignKey("bridges.id"), index=True)
    epoch: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    last_bridge_id: Mapped[UUID | None]
    first_epoch: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    held_since: Mapped[datetime | None]
    state_key: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    creds: Mapped[bytes | None] = mapped_column(LargeBinary)
    written_at: Mapped[datetime | None]


class ChipSignalKey(Base):
    """One signal key of a chip. ``name`` is an HMAC of its type and id: those name the people that a chip talks to."""

    __tablename__ = "chip_signal_keys"

    chip_id: Mapped[UUID] = mapped_column(ForeignKey("chip_holds.chip_id"), primary_key=True)
    name: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


def lock_hold(db: Session, chip_id: UUID) -> ChipHold:
    """The chip's hold, locked; made when there is none yet. The chip must exist."""
    db.execute(insert(ChipHold).values(chip_id=chip_id).on_conflict_do_nothing())
    return db.scalars(select(ChipHold).where(ChipHold.chip_id == chip_id).with_for_update()).one()


def lock_held(db: Session, chip_id: UUID, bridge_id: UUID, epoch: int) -> ChipHold:
    """The hold, locked, while it is this bridge's of this epoch. Raises WhagoError("hold_lost")."""
    hold = db.scalars(select(ChipHold).where(ChipHold.chip_id == chip_id).with_for_update()).one_or_none()
    if hold is None or hold.bridge_id != bridge_id or hold.epoch != epoch:
        raise WhagoError("hold_lost")
    return hold


def speaks_for(db: Session, chip_id: UUID, epoch: int) -> bool:
    """Whether what a bridge tells under this epoch is heard: no other bridge has taken the chip since."""
    hold = db.get(ChipHold, chip_id)
    return hold is not None and hold.first_epoch <= epoch <= hold.epoch


def dead_now(db: Session, now: datetime) -> frozenset[UUID]:
    """The bridges whose chips may be taken."""
    return dead_bridges([bridge.sign() for bridge in db.scalars(select(Bridge))], now)


def missing_bridges(db: Session, now: datetime) -> list[tuple[Bridge, int]]:
    """Those that fell silent and were not replaced at their address, each with its chips that run nowhere now."""
    newest = select(Bridge).ext(distinct_on(Bridge.url)).order_by(Bridge.url, Bridge.last_seen_at.desc())
    silent = [one for one in db.scalars(newest) if fell_silent(one.last_seen_at, one.stopped_at, now)]
    counted = [(one, _stranded(db, one)) for one in silent]
    return [(one, stranded) for one, stranded in counted if is_missed(one.last_seen_at, stranded, now)]


def _stranded(db: Session, bridge: Bridge) -> int:
    theirs = or_(
        ChipHold.bridge_id == bridge.id, and_(ChipHold.bridge_id.is_(None), ChipHold.last_bridge_id == bridge.id)
    )
    query = (
        select(func.count())
        .select_from(ChipHold)
        .join(Chip, Chip.id == ChipHold.chip_id)
        .join(User, User.id == Chip.user_id)
        .where(theirs, Chip.deleted_at.is_(None), Chip.status.in_(MEANT_TO_RUN), User.is_active)
    )
    return db.scalar(query) or 0


def drop_state(db: Session, hold: ChipHold) -> None:
    """The linked device is gone: keys, credentials, and the key that they were sealed with."""
    db.execute(delete(ChipSignalKey).where(ChipSignalKey.chip_id == hold.chip_id))
    hold.creds, hold.state_key = None, {}


def end_hold(db: Session, chip_id: UUID) -> None:
    """Nothing of the chip is left here: it was deleted, or never came to life."""
    db.execute(delete(ChipSignalKey).where(ChipSignalKey.chip_id == chip_id))
    db.execute(delete(ChipHold).where(ChipHold.chip_id == chip_id))
