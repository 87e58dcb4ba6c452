"""Chips leave exits that are gone, and proxies that are drained. Each chip moves in a transaction of its own.

Whoever is killed in between leaves every chip either where it was or where it is now; the next round goes on.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Chip, Provider, Proxy, Severity
from whago.domain.models.alerting import raise_alert
from whago.domain.models.assigning import ASSIGNING, active_assignment, candidates, move
from whago.domain.models.owning import lock_any_chip
from whago.domain.rules.failover import COUNTED_MOVES, STEPS, Plight, Position, is_gone, way_out
from whago.domain.rules.selection import choose_proxy
from whago.errors import WhagoError
from whago.kit.db import locked, transaction

DRAINED: Final = "drained"


class Moved(StrEnum):
    """What came of the wish to move a chip."""

    MOVED = "moved"
    HELD = "held"  # there is nowhere better; it keeps its identifier, and its exit may come back
    SETTLED = "settled"  # no reason any more: the chip works again, was moved by somebody else, or is deleted


def fail_over(
    chip_id: UUID, assignment_id: UUID, *, grace: timedelta, now: datetime, proven_since: datetime | None = None
) -> Moved:
    """Gives a chip another exit, if that of ``assignment_id`` is still gone. ``proven_since``: see ``candidates``."""
    with transaction() as db:
        chip, here = _still_there(db, chip_id, assignment_id)
        if chip is None or here is None:
            return Moved.SETTLED
        proxy, provider = db.get_one(Proxy, here.proxy_id), db.get_one(Provider, here.provider_id)
        if not is_gone(_plight(db, here, proxy, provider, now), grace=grace, now=now):
            return Moved.SETTLED
        found = way_out(candidates(db, proven_since=proven_since), _position(chip, here, proxy, provider))
        if found is None:
            return Moved.HELD
        step, chosen = found
        move(db, chip, reason=step.value, now=now, only=chosen.proxy_id)
        facts = {"alias": chip.alias, "chip_id": str(chip.id), "provider": provider.name, "step": step.value}
        raise_alert(
            db,
            "proxy_failed_over",
            str(chip.user_id),
            now=now,
            severity=Severity.WARNING,
            user_id=chip.user_id,
            data=facts,
        )
        return Moved.MOVED


def leave_drained(chip_id: UUID, assignment_id: UUID, *, now: datetime) -> Moved:
    """Moves a chip off a proxy that is drained, or whose provider is; its region is kept if that can be."""
    with transaction() as db:
        chip, here = _still_there(db, chip_id, assignment_id)
        if chip is None or here is None:
            return Moved.SETTLED
        proxy, provider = db.get_one(Proxy, here.proxy_id), db.get_one(Provider, here.provider_id)
        if not (proxy.is_draining or provider.is_draining):
            return Moved.SETTLED
        chosen = choose_proxy(candidates(db), region=chip.region or proxy.region or provider.region)
        if chosen is None:
            return Moved.HELD
        move(db, chip, reason=DRAINED, now=now, only=chosen.proxy_id)
        return Moved.MOVED


def _still_there(db: Session, chip_id: UUID, assignment_id: UUID) -> tuple[Chip | None, Assignment | None]:
    """The chip, locked, and its assignment while that is the active one."""
    locked(db, ASSIGNING)
    try:
        chip = lock_any_chip(db, chip_id)
    except WhagoError as error:
        if error.code != "not_found":
            raise
        return None, None
    here = active_assignment(db, chip.id)
    return (chip, here) if here is not None and here.id == assignment_id else (None, None)


def _plight(db: Session, here: Assignment, proxy: Proxy, provider: Provider, now: datetime) -> Plight:
    moves = db.scalar(
        select(func.count()).where(
            Assignment.chip_id == here.chip_id,
            Assignment.assign_reason.in_(STEPS),
            Assignment.assigned_at > now - COUNTED_MOVES,
        )
    )
    return Plight(
        failures=here.failures,
        refusals=here.refusals,
        failing_since=here.failing_since,
        proxy_is_out=proxy.ejected_until is not None,
        provider_in_trouble=provider.trouble is not None and not proxy.has_own_login,
        moves=moves or 0,
    )


def _position(chip: Chip, here: Assignment, proxy: Proxy, provider: Provider) -> Position:
    return Position(
        proxy_id=proxy.id,
        provider_id=provider.id,
        region=chip.region or proxy.region or provider.region,
        assign_reason=here.assign_reason,
        has_worked=here.first_ok_at is not None,
    )
