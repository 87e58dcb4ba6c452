"""Which chips' exits are gone, which chips are to leave what drains, and whether the pool is in a panic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.orm import aliased

from whago.domain.models import Assignment, Chip, Provider, Proxy
from whago.domain.rules.failover import COUNTED_MOVES, GONE_AFTER, STEPS, Plight, is_gone
from whago.domain.rules.health import PROOF_FRESH, in_panic
from whago.kit.db import reading

LOOKED_AT: Final = 5_000  # failing sessions in one round, of which those that are gone are few


@dataclass(frozen=True, slots=True)
class Leaving:
    """A chip that is to leave its assignment. Chips with the same ``way`` find the same, or nothing."""

    chip_id: UUID
    assignment_id: UUID
    way: tuple[UUID, str | None, str]


@dataclass(frozen=True, slots=True)
class PoolState:
    """``failing``: sessions that do not open tunnels. ``proven_since``: None, or in a panic the time since which a
    proxy must have answered to take their chips.
    """

    proxies: int
    out: int
    failing: int
    proven_since: datetime | None


def gone_sessions(*, grace: timedelta, now: datetime, limit: int) -> list[Leaving]:
    """Those to be given up now, the longest failing first."""
    earlier = aliased(Assignment)
    moves = (
        select(func.count())
        .where(
            earlier.chip_id == Assignment.chip_id,
            earlier.assign_reason.in_(STEPS),
            earlier.assigned_at > now - COUNTED_MOVES,
        )
        .correlate(Assignment)
        .scalar_subquery()
    )
    out, trouble = Proxy.ejected_until.is_not(None), Provider.trouble.is_not(None) & (Proxy.credentials == {})
    query = (
        select(Assignment, Chip.region, out, trouble, moves)
        .join(Chip, Chip.id == Assignment.chip_id)
        .join(Proxy, Proxy.id == Assignment.proxy_id)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Assignment.released_at.is_(None),
            Assignment.failing_since <= now - grace,
            Chip.deleted_at.is_(None),
            or_(Assignment.failures >= GONE_AFTER, out & (Assignment.failures > 0), trouble),
        )
        .order_by(Assignment.failing_since, Assignment.id)
        .limit(LOOKED_AT)
    )
    with reading() as db:
        rows = db.execute(query).all()
    return [
        _leaving(one, region)
        for one, region, is_out, in_trouble, moved in rows
        if is_gone(
            Plight(one.failures, one.refusals, one.failing_since, is_out, in_trouble, moved), grace=grace, now=now
        )
    ][:limit]


def chips_to_drain(*, each: int) -> list[Leaving]:
    """At most ``each`` chips of every provider that drains or has proxies that do, the longest silent first."""
    place = func.row_number().over(
        partition_by=Provider.id, order_by=(Chip.last_activity_at.asc().nulls_first(), Assignment.id)
    )
    draining = (
        select(Assignment, Chip.region, place.label("place"))
        .join(Chip, Chip.id == Assignment.chip_id)
        .join(Proxy, Proxy.id == Assignment.proxy_id)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Assignment.released_at.is_(None), Chip.deleted_at.is_(None), or_(Proxy.is_draining, Provider.is_draining)
        )
    )
    with reading() as db:
        rows = db.execute(draining).all()
    return [_leaving(one, region) for one, region, number in rows if number <= each]


def pool_state(*, now: datetime) -> PoolState:
    """Counts of the active pool. What drains counts too: whether it lives is evidence all the same."""
    in_use = exists().where(Assignment.proxy_id == Proxy.id, Assignment.released_at.is_(None))
    out = Proxy.ejected_until.is_not(None)
    counts = (
        select(
            func.count(),
            func.count().filter(out),
            func.count().filter(in_use),
            func.count().filter(in_use & out),
        )
        .select_from(Proxy)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(Proxy.is_active, Proxy.deleted_at.is_(None), Provider.is_active, Provider.deleted_at.is_(None))
    )
    failing = select(func.count()).where(Assignment.released_at.is_(None), Assignment.failing_since.is_not(None))
    with reading() as db:
        proxies, out_of_them, used, used_out = db.execute(counts).one()
        waiting = db.scalar(failing) or 0
    panics = in_panic(out_of_them, proxies, used_out=used_out, used=used)
    return PoolState(proxies, out_of_them, waiting, now - PROOF_FRESH if panics else None)


def _leaving(one: Assignment, region: str | None) -> Leaving:
    return Leaving(one.chip_id, one.id, (one.proxy_id, region, one.assign_reason))
