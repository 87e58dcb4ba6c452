"""Chips as their owner, or an administrator, sees them: with the proxy of each and the bytes of the month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, false, func, or_, select, true
from sqlalchemy.orm import aliased

from whago.domain.models import Assignment, Chip, ChipUsageMonth, ExitIpObservation, Provider, Proxy, User
from whago.domain.queries.paging import (
    DEFAULT_LIMIT,
    Order,
    Page,
    as_id,
    as_moment,
    as_number,
    as_text,
    has_text,
    page_of,
)
from whago.domain.rules.thrift import Thrift, thrift_of
from whago.errors import WhagoError
from whago.kit.db import reading

ChipSort = Literal["newest", "name", "status", "usage", "owner"]

CHIPS_OF_EACH = 100  # of one user in a list of users: a customer with thousands must not make it slow
BYTES = func.coalesce(ChipUsageMonth.total_bytes, 0)
ORDERS: Final[Mapping[ChipSort, Order]] = {
    "newest": Order((Chip.created_at, Chip.id), (as_moment, as_id), descending=True),
    "name": Order((Chip.alias, Chip.id), (as_text, as_id)),
    "status": Order((Chip.status, Chip.id), (as_text, as_id)),
    "usage": Order((BYTES, Chip.id), (as_number, as_id), descending=True),
    "owner": Order((User.name, Chip.id), (as_text, as_id)),
}
_ACTIVE: Final = and_(Assignment.chip_id == Chip.id, Assignment.released_at.is_(None))
# The latest time that the assignment was first seen on the address which it has now; asked for the rows shown only.
EXIT_IP_SINCE = (
    select(func.max(ExitIpObservation.first_seen_at))
    .where(ExitIpObservation.assignment_id == Assignment.id, ExitIpObservation.exit_ip == Assignment.exit_ip)
    .correlate(Assignment)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class ChipProxy:
    """The active assignment of a chip. ``paused_at``: since then it may not leave: its exit IP is not the expected.

    ``is_simulated``: the provider is the demo's.
    """

    assignment_id: UUID
    proxy_id: UUID
    provider_id: UUID
    provider: str
    region: str | None
    proxy_type: str
    health_score: int
    session_identifier: str
    exit_ip: str | None
    exit_ip_since: datetime | None
    assigned_at: datetime
    expected_exit_ip: str | None
    paused_at: datetime | None
    is_simulated: bool = False


@dataclass(frozen=True, slots=True)
class ChipUsage:
    """Bytes of the billing month that was asked for."""

    bytes_month: int


@dataclass(frozen=True, slots=True)
class ChipOwner:
    id: UUID
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class ChipView:
    """``proxy`` is None while the chip waits for one."""

    id: UUID
    alias: str
    engine: str
    phone_number: str | None
    status: str
    status_reason: str | None
    region: str | None
    created_at: datetime
    connected_at: datetime | None
    last_activity_at: datetime | None
    thrift: Thrift
    proxy: ChipProxy | None
    usage: ChipUsage
    owner: ChipOwner


def list_chips(
    owner_id: UUID,
    *,
    month: date,
    search: str | None = None,
    status: str | None = None,
    sort: ChipSort = "newest",
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[ChipView]:
    """The owner's chips, newest first unless sorted otherwise.

    ``month``: day 1 of a billing month; ``search`` looks into alias and number.
    """
    query = _which(month, sort).where(Chip.user_id == owner_id)
    if search:
        query = query.where(or_(has_text(search, Chip.alias), _has_number(search)))
    if status is not None:
        query = query.where(Chip.status == status)
    return _page(query, month, sort, limit, cursor)


def get_chip(owner_id: UUID, chip_id: UUID, *, month: date) -> ChipView:
    """One chip of its owner. Raises WhagoError("not_found"), also for another's."""
    return _one(_query(month).where(Chip.user_id == owner_id, Chip.id == chip_id))


def all_chips(
    *,
    month: date,
    search: str | None = None,
    status: str | None = None,
    proxy_id: UUID | None = None,
    provider_id: UUID | None = None,
    sort: ChipSort = "newest",
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[ChipView]:
    """Everybody's chips, for administrators; ``search`` looks into alias, number, and owner."""
    query = _which(month, sort)
    if search:
        owners = select(User.id).where(has_text(search, User.name, User.email))
        query = query.where(or_(has_text(search, Chip.alias), _has_number(search), Chip.user_id.in_(owners)))
    if status is not None:
        query = query.where(Chip.status == status)
    if proxy_id is not None or provider_id is not None:
        query = query.join(Assignment, _ACTIVE)
    if proxy_id is not None:
        query = query.where(Assignment.proxy_id == proxy_id)
    if provider_id is not None:
        query = query.where(Assignment.provider_id == provider_id)
    return _page(query, month, sort, limit, cursor)


def any_chip(chip_id: UUID, *, month: date) -> ChipView:
    """Any chip, for administrators. Raises WhagoError("not_found")."""
    return _one(_query(month).where(Chip.id == chip_id))


def chips_of_users(user_ids: Collection[UUID], *, month: date, each: int = CHIPS_OF_EACH) -> dict[UUID, list[ChipView]]:
    """The chips of several users at once, oldest first, at most ``each`` of everyone."""
    found: dict[UUID, list[ChipView]] = defaultdict(list)
    oldest = aliased(Chip)
    of_each = (
        select(oldest.id)
        .where(oldest.user_id == User.id, oldest.deleted_at.is_(None))
        .order_by(oldest.created_at, oldest.id)
        .limit(each)
        .lateral()
    )
    which = select(of_each.c.id).select_from(User).join(of_each, true()).where(User.id.in_(user_ids))
    with reading() as db:
        ids = db.scalars(which).all()
        for row in db.execute(_query(month).where(Chip.id.in_(ids)).order_by(Chip.created_at, Chip.id)):
            found[row.Chip.user_id].append(_view(row))
    return found


def chip_counts(owner_id: UUID) -> dict[str, int]:
    """How many chips the owner has in each status that occurs."""
    query = (
        select(Chip.status, func.count())
        .where(Chip.user_id == owner_id, Chip.deleted_at.is_(None))
        .group_by(Chip.status)
    )
    with reading() as db:
        return dict(db.execute(query).all())


def _has_number(search: str) -> ColumnElement[bool]:
    """No number holds a letter, so such a search need not read them."""
    return false() if any(map(str.isalpha, search)) else Chip.phone_number.contains(search, autoescape=True)


def _of_month(month: date) -> ColumnElement[bool]:
    return and_(ChipUsageMonth.chip_id == Chip.id, ChipUsageMonth.month_year == month)


def _which(month: date, sort: ChipSort) -> Select[*tuple[Any, ...]]:
    """The columns that decide which chips come in which order, of no more tables than that takes."""
    query = select(*ORDERS[sort].columns).select_from(Chip).where(Chip.deleted_at.is_(None))
    if sort == "usage":
        query = query.outerjoin(ChipUsageMonth, _of_month(month))
    return query.join(User, User.id == Chip.user_id) if sort == "owner" else query


def _query(month: date) -> Select[*tuple[Any, ...]]:
    return (
        select(Chip, Assignment, Proxy, Provider, ChipUsageMonth.total_bytes, User, EXIT_IP_SINCE)
        .join(User, User.id == Chip.user_id)
        .outerjoin(Assignment, _ACTIVE)
        .outerjoin(Proxy, Proxy.id == Assignment.proxy_id)
        .outerjoin(Provider, Provider.id == Assignment.provider_id)
        .outerjoin(ChipUsageMonth, _of_month(month))
        .where(Chip.deleted_at.is_(None))
    )


def _page(
    which: Select[*tuple[Any, ...]], month: date, sort: ChipSort, limit: int, cursor: str | None
) -> Page[ChipView]:
    """First which chips, by the few columns that decide it; then everything about those alone."""
    with reading() as db:
        page = page_of(db, which, ORDERS[sort], limit=limit, cursor=cursor, make=tuple, key=lambda row: row)
        ids = [row[-1] for row in page.items]
        chips = {row.Chip.id: _view(row) for row in db.execute(_query(month).where(Chip.id.in_(ids)))}
    return Page([chips[chip_id] for chip_id in ids], page.next_cursor)


def _one(query: Select[*tuple[Any, ...]]) -> ChipView:
    with reading() as db:
        row = db.execute(query).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return _view(row)


def _view(row: Any) -> ChipView:
    chip, assignment, proxy, provider, bytes_month, user, exit_ip_since = row
    return ChipView(
        id=chip.id,
        alias=chip.alias,
        engine=chip.engine,
        phone_number=chip.phone_number,
        status=chip.status,
        status_reason=chip.status_reason,
        region=chip.region,
        created_at=chip.created_at,
        connected_at=chip.connected_at,
        last_activity_at=chip.last_activity_at,
        thrift=thrift_of(chip.thrift),
        proxy=_proxy(assignment, proxy, provider, exit_ip_since) if assignment is not None else None,
        usage=ChipUsage(bytes_month or 0),
        owner=ChipOwner(user.id, user.name, user.email),
    )


def _proxy(assignment: Assignment, proxy: Proxy, provider: Provider, exit_ip_since: datetime | None) -> ChipProxy:
    return ChipProxy(
        assignment_id=assignment.id,
        proxy_id=proxy.id,
        provider_id=provider.id,
        provider=provider.name,
        region=proxy.region or provider.region,
        proxy_type=proxy.proxy_type,
        health_score=proxy.health_score,
        session_identifier=assignment.session_identifier,
        exit_ip=str(assignment.exit_ip) if assignment.exit_ip is not None else None,
        exit_ip_since=exit_ip_since,
        assigned_at=assignment.assigned_at,
        expected_exit_ip=str(assignment.expected_exit_ip) if assignment.expected_exit_ip is not None else None,
        paused_at=assignment.paused_at,
        is_simulated=provider.is_demo,
    )
