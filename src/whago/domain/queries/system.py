"""How the product itself is: gateways, clocks, the database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on

from whago.domain.models import ClockRun, GatewayBoot, Plan
from whago.kit.db import reading

SHOWN_BOOTS = 50


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One life of one gateway process that has not settled yet."""

    id: UUID
    host: str
    pid: int
    port: int
    started_at: datetime
    last_seen_at: datetime
    stopped_at: datetime | None
    open_tunnels: int


@dataclass(frozen=True, slots=True)
class ClockView:
    """The last run of one periodic task."""

    clock: str
    started_at: datetime
    ended_at: datetime | None
    counts: dict[str, Any]
    error: str | None


def gateways() -> list[GatewayView]:
    """The gateways that run, or died without settling; the latest sign of life first."""
    query = (
        select(GatewayBoot)
        .where(GatewayBoot.settled_at.is_(None))
        .order_by(GatewayBoot.last_seen_at.desc())
        .limit(SHOWN_BOOTS)
    )
    with reading() as db:
        return [
            GatewayView(
                boot.id,
                boot.host,
                boot.pid,
                boot.port,
                boot.started_at,
                boot.last_seen_at,
                boot.stopped_at,
                boot.open_tunnels,
            )
            for boot in db.scalars(query)
        ]


def clocks() -> list[ClockView]:
    """The last run of every clock, by name."""
    query = select(ClockRun).ext(distinct_on(ClockRun.clock)).order_by(ClockRun.clock, ClockRun.started_at.desc())
    with reading() as db:
        return [ClockView(run.clock, run.started_at, run.ended_at, run.counts, run.error) for run in db.scalars(query)]


def last_beat() -> datetime | None:
    """When the scheduler last started any clock; None before its first."""
    with reading() as db:
        return db.scalar(select(func.max(ClockRun.started_at)))


def has_schema() -> bool:
    """Whether the database answers and is migrated: the first thing that migrations leave is a default plan."""
    with reading() as db:
        return db.scalar(select(func.count()).where(Plan.is_default)) == 1
