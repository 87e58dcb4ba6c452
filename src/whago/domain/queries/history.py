"""A chip's past: its events, the exit IPs that the world saw, its assignments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, aliased

from whago.domain.models import Assignment, Chip, ChipEvent, ExitIpObservation, Provider, Proxy
from whago.domain.models.owning import owned_chips
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_id, as_moment, as_number, page_of
from whago.errors import WhagoError
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class EventView:
    """``kind`` is a stable code; ``data`` says more about it."""

    id: int
    kind: str
    data: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExitIpView:
    """A stretch of time in which one assignment of the chip showed one exit IP.

    ``began``: why it is another one than before: the reason of the assignment, or exit_ip_changed for a silent change.
    ``is_current``: the chip leaves from it now, as far as is known.
    """

    id: UUID
    exit_ip: str
    country: str | None
    asn: str | None
    session_identifier: str
    provider: str
    first_seen_at: datetime
    last_seen_at: datetime
    observations: int
    began: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class AssignmentView:
    """``released_at`` None is the active one."""

    id: UUID
    proxy_id: UUID
    provider: str
    proxy_type: str
    session_identifier: str
    exit_ip: str | None
    assigned_at: datetime
    assign_reason: str
    released_at: datetime | None
    release_reason: str | None


def chip_events(
    owner_id: UUID, chip_id: UUID, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[EventView]:
    """What happened to a chip, newest first. Raises WhagoError("not_found")."""
    order = Order((ChipEvent.id,), (as_number,), descending=True)
    with reading() as db:
        _check_owner(db, owner_id, chip_id)
        query = select(ChipEvent).where(ChipEvent.chip_id == chip_id)
        return page_of(db, query, order, limit=limit, cursor=cursor, make=_event, key=lambda event: (event.id,))


def exit_ips(
    owner_id: UUID, chip_id: UUID, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[ExitIpView]:
    """The exit IPs of a chip, the latest first. Raises WhagoError("not_found")."""
    order = Order((ExitIpObservation.first_seen_at, ExitIpObservation.id), (as_moment, as_id), descending=True)
    earlier = aliased(ExitIpObservation)
    is_change = exists().where(
        earlier.assignment_id == ExitIpObservation.assignment_id,
        earlier.first_seen_at < ExitIpObservation.first_seen_at,
    )
    query = (
        select(ExitIpObservation, Assignment, Provider, is_change)
        .join(Assignment, Assignment.id == ExitIpObservation.assignment_id)
        .join(Provider, Provider.id == Assignment.provider_id)
        .where(ExitIpObservation.chip_id == chip_id)
    )
    with reading() as db:
        _check_owner(db, owner_id, chip_id)
        return page_of(
            db, query, order, limit=limit, cursor=cursor, make=_exit_ip, key=lambda seen: (seen.first_seen_at, seen.id)
        )


def assignments(
    owner_id: UUID, chip_id: UUID, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[AssignmentView]:
    """The proxies that a chip has had, the latest first. Raises WhagoError("not_found")."""
    order = Order((Assignment.assigned_at, Assignment.id), (as_moment, as_id), descending=True)
    query = (
        select(Assignment, Proxy, Provider)
        .join(Proxy, Proxy.id == Assignment.proxy_id)
        .join(Provider, Provider.id == Assignment.provider_id)
        .where(Assignment.chip_id == chip_id)
    )
    with reading() as db:
        _check_owner(db, owner_id, chip_id)
        return page_of(
            db, query, order, limit=limit, cursor=cursor, make=_assignment, key=lambda one: (one.assigned_at, one.id)
        )


def _check_owner(db: Session, owner_id: UUID, chip_id: UUID) -> None:
    if db.scalar(owned_chips(owner_id).with_only_columns(Chip.id).where(Chip.id == chip_id)) is None:
        raise WhagoError("not_found")


def _event(row: Any) -> EventView:
    event = row.ChipEvent
    return EventView(event.id, event.kind, event.data, event.created_at)


def _exit_ip(row: Any) -> ExitIpView:
    seen, assignment, provider, is_change = row
    return ExitIpView(
        id=seen.id,
        exit_ip=str(seen.exit_ip),
        country=seen.country,
        asn=seen.asn,
        session_identifier=assignment.session_identifier,
        provider=provider.name,
        first_seen_at=seen.first_seen_at,
        last_seen_at=seen.last_seen_at,
        observations=seen.observations,
        began="exit_ip_changed" if is_change else assignment.assign_reason,
        is_current=assignment.released_at is None and seen.exit_ip == assignment.exit_ip,
    )


def _assignment(row: Any) -> AssignmentView:
    one, proxy, provider = row
    return AssignmentView(
        id=one.id,
        proxy_id=one.proxy_id,
        provider=provider.name,
        proxy_type=proxy.proxy_type,
        session_identifier=one.session_identifier,
        exit_ip=str(one.exit_ip) if one.exit_ip is not None else None,
        assigned_at=one.assigned_at,
        assign_reason=one.assign_reason,
        released_at=one.released_at,
        release_reason=one.release_reason,
    )
