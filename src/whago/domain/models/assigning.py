"""Putting chips on proxies and taking them off, inside the caller's transaction.

One named lock serialises all of it: capacity, exclusivity and token uniqueness are then plain checks, and the unique
indexes are only the second line of defence. Assigning takes about a millisecond, so the lock is never the bottleneck.
It is taken before any chip's row lock, always, so that two writers never wait for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models.chips import Assignment, Chip, ChipEvent
from whago.domain.models.proxies import Provider, Proxy
from whago.domain.rules.selection import Candidate, choose_proxy
from whago.domain.rules.sticky import TOKEN_ATTEMPTS, logical_identifier, provider_token
from whago.errors import WhagoError
from whago.kit.db import locked, signal

ASSIGNING = "assigning"


def active_assignment(db: Session, chip_id: UUID) -> Assignment | None:
    """The chip's assignment now, or None."""
    return db.scalar(select(Assignment).where(Assignment.chip_id == chip_id, Assignment.released_at.is_(None)))


def assign(
    db: Session,
    chip: Chip,
    *,
    reason: str,
    now: datetime,
    avoid: Sequence[UUID] = (),
    only: UUID | None = None,
) -> Assignment:
    """Puts a chip without a proxy on the best one, or on ``only``.

    Raises WhagoError("no_healthy_proxy") or, for ``only``, WhagoError("proxy_full").
    """
    locked(db, ASSIGNING)
    found = candidates(db, only=only)
    chosen = choose_proxy(found, region=chip.region, avoid=avoid) if only is None else _named(found, only)
    if chosen is None:
        raise WhagoError("no_healthy_proxy")
    identifier = logical_identifier(chip.id, chip.sticky_generation)
    assignment = Assignment(
        chip_id=chip.id,
        proxy_id=chosen.proxy_id,
        provider_id=chosen.provider_id,
        session_identifier=identifier,
        session_token=_free_token(db, chosen.provider_id, identifier),
        is_exclusive=chosen.proxy_type == "static",
        assigned_at=now,
        assign_reason=reason,
    )
    db.add(assignment)
    db.flush()
    note(db, chip.id, "proxy_assigned", now, reason=reason, session_identifier=identifier)
    signal(db, "chip", chip.id)
    return assignment


def release(db: Session, chip_id: UUID, *, reason: str, now: datetime) -> Assignment | None:
    """Ends the chip's assignment, if there is one, and returns it."""
    locked(db, ASSIGNING)
    assignment = active_assignment(db, chip_id)
    if assignment is None:
        return None
    assignment.released_at = max(now, assignment.assigned_at)
    assignment.release_reason = reason
    db.flush()
    note(db, chip_id, "proxy_released", now, reason=reason, session_identifier=assignment.session_identifier)
    signal(db, "chip", chip_id)
    return assignment


def move(
    db: Session,
    chip: Chip,
    *,
    reason: str,
    now: datetime,
    avoid: Sequence[UUID] = (),
    only: UUID | None = None,
) -> Assignment:
    """Release and assign in one step, with a new sticky identifier: the recorded change of a chip's exit."""
    release(db, chip.id, reason=reason, now=now)
    chip.sticky_generation += 1
    return assign(db, chip, reason=reason, now=now, avoid=avoid, only=only)


def candidates(db: Session, *, only: UUID | None = None, proven_since: datetime | None = None) -> list[Candidate]:
    """The pool as a choice sees it: active proxies of active providers, with the chips on each.

    With ``proven_since`` a proxy that has not answered since then counts as out.
    """
    on_it = (
        select(Assignment.proxy_id, func.count().label("chips"))
        .where(Assignment.released_at.is_(None))
        .group_by(Assignment.proxy_id)
        .subquery()
    )
    query = (
        select(Proxy, Provider, func.coalesce(on_it.c.chips, 0))
        .join(Provider, Provider.id == Proxy.provider_id)
        .outerjoin(on_it, on_it.c.proxy_id == Proxy.id)
        .where(Proxy.is_active, Proxy.deleted_at.is_(None), Provider.is_active, Provider.deleted_at.is_(None))
    )
    if only is not None:
        query = query.where(Proxy.id == only)
    return [
        Candidate(
            proxy_id=proxy.id,
            provider_id=provider.id,
            priority=provider.priority,
            region=proxy.region or provider.region,
            proxy_type=proxy.kind,
            health_score=proxy.health_score,
            active_chips=chips,
            max_chips=proxy.max_chips,
            weight=provider.weight,
            is_out=_is_out(proxy, provider, proven_since),
            is_draining=proxy.is_draining or provider.is_draining,
        )
        for proxy, provider, chips in db.execute(query)
    ]


def chips_on(db: Session, *, proxy_id: UUID | None = None, provider_id: UUID | None = None) -> list[Chip]:
    """The chips that a proxy, or all proxies of a provider, carry now."""
    query = select(Chip).join(Assignment, Assignment.chip_id == Chip.id).where(Assignment.released_at.is_(None))
    if proxy_id is not None:
        query = query.where(Assignment.proxy_id == proxy_id)
    if provider_id is not None:
        query = query.where(Assignment.provider_id == provider_id)
    return list(db.scalars(query.order_by(Chip.created_at, Chip.id)))


def note(db: Session, chip_id: UUID, kind: str, now: datetime, **details: object) -> None:
    """Writes a chip event."""
    db.add(ChipEvent(chip_id=chip_id, kind=kind, data=details, created_at=now))


def _is_out(proxy: Proxy, provider: Provider, proven_since: datetime | None) -> bool:
    if proxy.ejected_until is not None or (provider.trouble is not None and not proxy.has_own_login):
        return True
    return proven_since is not None and (proxy.last_ok_at is None or proxy.last_ok_at < proven_since)


def _named(found: Sequence[Candidate], proxy_id: UUID) -> Candidate | None:
    for candidate in found:
        if candidate.proxy_id == proxy_id:
            if candidate.room == 0:
                raise WhagoError("proxy_full")
            return candidate
    return None


def _free_token(db: Session, provider_id: UUID, identifier: str) -> str:
    for attempt in range(TOKEN_ATTEMPTS):
        token = provider_token(identifier, attempt)
        taken = select(Assignment.id).where(
            Assignment.provider_id == provider_id,
            Assignment.session_token == token,
            Assignment.released_at.is_(None),
        )
        if db.scalar(taken) is None:
            return token
    raise WhagoError("conflict")
