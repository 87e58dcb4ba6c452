"""A chip's life: created with its proxy or not at all, its credential, its status, its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from whago.domain.models import (
    Assignment,
    Chip,
    ChipEvent,
    ChipStatus,
    Engine,
    ExitIpObservation,
    User,
    UserProxyCost,
)
from whago.domain.models.assigning import ASSIGNING, assign, note, release
from whago.domain.models.bridges import end_hold, speaks_for
from whago.domain.models.owning import lock_chip
from whago.domain.models.quota import Allowance, allowances
from whago.domain.rules.months import billing_month
from whago.domain.rules.thresholds import OnLimit, is_spent
from whago.domain.rules.thrift import Thrift, thrift_of
from whago.errors import WhagoError
from whago.kit.db import locked, signal, transaction
from whago.kit.ids import new_id, new_token, token_hash

SILENT_AFTER = timedelta(minutes=20)  # the gateway closes a tunnel after fifteen minutes of silence


@dataclass(frozen=True, slots=True)
class CreatedChip:
    """``gateway_token`` is the chip's gateway credential in clear: this is the only time it exists."""

    chip_id: UUID
    gateway_token: str = field(repr=False)


def create_chip(
    owner_id: UUID, *, alias: str, engine: Engine, region: str | None, now: datetime, tz: ZoneInfo
) -> CreatedChip:
    """Quota check, then assignment, in one transaction.

    Raises WhagoError: quota_exhausted, chip_limit, alias_taken, no_healthy_proxy.
    """
    token = new_token()
    with transaction() as db:
        owner = db.scalars(  # who assigns may need to refer to this row, and must not wait for us
            select(User).where(User.id == owner_id, User.is_active).with_for_update(key_share=True)
        ).one_or_none()
        if owner is None:
            raise WhagoError("not_found")
        plan = allowances(db, [owner_id])[owner_id]
        _check_quota(db, owner_id, plan, now, tz)
        _check_count(db, owner_id, plan)
        chip = Chip(
            id=new_id(),
            user_id=owner_id,
            alias=alias,
            engine=engine,
            status=ChipStatus.CREATED,
            region=region,
            gateway_token_hash=token_hash(token),
            created_at=now,
        )
        _insert(db, chip)
        note(db, chip.id, "created", now, engine=engine.value)
        assign(db, chip, reason="created", now=now)
        return CreatedChip(chip.id, token)


def undo_chip_creation(chip_id: UUID) -> None:
    """Takes back a chip that never came to life because a later step failed. Nothing of it is left."""
    with transaction() as db:
        end_hold(db, chip_id)
        for table in (ExitIpObservation, ChipEvent, Assignment):
            db.execute(delete(table).where(table.chip_id == chip_id))
        db.execute(delete(Chip).where(Chip.id == chip_id))
        signal(db, "chip", chip_id)


def delete_chip(owner_id: UUID, chip_id: UUID, *, now: datetime) -> None:
    """Ends a chip: proxy free, tunnels closed, linked device forgotten; its usage stays on the bill."""
    with transaction() as db:
        locked(db, ASSIGNING)
        chip = lock_chip(db, owner_id, chip_id)
        release(db, chip.id, reason="chip_deleted", now=now)
        end_hold(db, chip.id)
        chip.deleted_at = now
        chip.status = ChipStatus.DISCONNECTED
        note(db, chip.id, "deleted", now)
        signal(db, "chip", chip.id)


def update_chip(
    owner_id: UUID, chip_id: UUID, *, alias: str | None = None, thrift: Mapping[str, Any] | None = None, now: datetime
) -> Thrift:
    """Another name, other thrift; what is None, or not named in ``thrift``, stays. Returns the thrift from now on.

    Raises WhagoError: not_found, alias_taken.
    """
    with transaction() as db:
        chip = lock_chip(db, owner_id, chip_id)
        if alias is not None and alias != chip.alias:
            chip.alias = alias
            _flush_alias(db, chip)
        before = thrift_of(chip.thrift)
        after = replace(before, **(thrift or {}))
        if after != before:
            chip.thrift = after.kept()
            note(db, chip.id, "thrift_changed", now, **asdict(after))
        return after


def renew_gateway_token(owner_id: UUID, chip_id: UUID, *, now: datetime) -> str:
    """A new gateway credential; the old one dies at once, with the tunnels that it opened."""
    token = new_token()
    with transaction() as db:
        chip = lock_chip(db, owner_id, chip_id)
        chip.gateway_token_hash = token_hash(token)
        note(db, chip.id, "credential_renewed", now)
        signal(db, "chip", chip.id)
    return token


def set_chip_status(
    chip_id: UUID,
    status: ChipStatus,
    *,
    now: datetime,
    event_no: int | None = None,
    epoch: int | None = None,
    reason: str | None = None,
    phone_number: str | None = None,
) -> bool:
    """Takes over what the chip's engine says. ``event_no`` numbers the bridge's events: an old one changes nothing.

    ``epoch`` is that of the bridge's hold: what a bridge says after another took the chip changes nothing either.
    """
    with transaction() as db:
        chip = db.scalars(select(Chip).where(Chip.id == chip_id).with_for_update()).one_or_none()
        if chip is None or chip.deleted_at is not None:
            return False
        if event_no is not None and event_no <= chip.bridge_event_no:
            return False
        if epoch is not None and not speaks_for(db, chip_id, epoch):
            return False
        if event_no is not None:
            chip.bridge_event_no = event_no
        if chip.status != status or chip.status_reason != reason:
            note(db, chip.id, f"status_{status.value}", now, reason=reason)
        chip.status, chip.status_reason = status, reason
        if phone_number is not None:
            chip.phone_number = phone_number
        if status is ChipStatus.CONNECTED:
            chip.connected_at = now
        chip.last_activity_at = now
        return True


def rest_silent_chips(*, now: datetime) -> int:
    """External chips without a byte for longer than a tunnel may idle are no longer connected; returns how many."""
    with transaction() as db:
        silent = db.scalars(
            select(Chip)
            .where(
                Chip.engine == Engine.EXTERNAL,
                Chip.status == ChipStatus.CONNECTED,
                Chip.last_activity_at < now - SILENT_AFTER,
                Chip.deleted_at.is_(None),
            )
            .with_for_update(skip_locked=True)
        ).all()
        for chip in silent:
            chip.status = ChipStatus.DISCONNECTED
            note(db, chip.id, "status_disconnected", now, reason="silent")
        return len(silent)


def _check_quota(db: Session, owner_id: UUID, plan: Allowance, now: datetime, tz: ZoneInfo) -> None:
    used = db.scalar(
        select(UserProxyCost.total_bytes).where(
            UserProxyCost.user_id == owner_id, UserProxyCost.month_year == billing_month(now, tz)
        )
    )
    if plan.on_limit is not OnLimit.BILL and is_spent(used or 0, plan.limit):
        raise WhagoError("quota_exhausted", used_bytes=used or 0, limit_bytes=plan.limit)


def _check_count(db: Session, owner_id: UUID, plan: Allowance) -> None:
    chips = db.scalar(select(func.count()).where(Chip.user_id == owner_id, Chip.deleted_at.is_(None))) or 0
    if chips >= plan.max_chips:
        raise WhagoError("chip_limit", chips=chips, max_chips=plan.max_chips)


def _insert(db: Session, chip: Chip) -> None:
    alias = chip.alias
    try:
        with db.begin_nested():
            db.add(chip)
    except IntegrityError as error:
        raise WhagoError("alias_taken", alias=alias) from error


def _flush_alias(db: Session, chip: Chip) -> None:
    alias = chip.alias
    try:
        db.flush()
    except IntegrityError as error:
        raise WhagoError("alias_taken", alias=alias) from error
