"""The machines behind the product: bridges and the database itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select, text

from whago.domain.models import Bridge, ChipHold
from whago.domain.models.bridges import missing_bridges
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class BridgeView:
    """One life of one bridge process that did not say goodbye.

    ``holds``: the chips that it runs, or of one that is missing those that run nowhere now.
    """

    id: UUID
    url: str
    started_at: datetime
    last_seen_at: datetime
    is_fresh: bool
    is_draining: bool
    holds: int
    max_chips: int


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """``revision``: the last migration. ``size_bytes`` on disk; ``connections`` of everybody to this database."""

    version: str
    revision: str
    size_bytes: int
    connections: int


def bridges_now(*, now: datetime) -> Sequence[BridgeView]:
    """Those that live, the latest sign of life first, then those that are missing."""
    holds = select(func.count()).where(ChipHold.bridge_id == Bridge.id).correlate(Bridge).scalar_subquery()
    query = select(Bridge, holds).where(Bridge.stopped_at.is_(None)).order_by(Bridge.last_seen_at.desc(), Bridge.id)
    with reading() as db:
        living = [_bridge(one, count, now) for one, count in db.execute(query)]
        shown = {one.id for one in living}
        missing = [_bridge(one, count, now) for one, count in missing_bridges(db, now) if one.id not in shown]
    return [*living, *missing]


def _bridge(one: Bridge, holds: int, now: datetime) -> BridgeView:
    return BridgeView(
        id=one.id,
        url=one.url,
        started_at=one.started_at,
        last_seen_at=one.last_seen_at,
        is_fresh=one.sign().is_fresh(now),
        is_draining=one.is_draining and one.stopped_at is None,
        holds=holds,
        max_chips=one.max_chips,
    )


_FACTS = text(
    "SELECT current_setting('server_version'), (SELECT version_num FROM alembic_version),"
    " pg_database_size(current_database()),"
    " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
)


def database_facts() -> DatabaseFacts:
    """What the server says of itself."""
    with reading() as db:
        version, revision, size, connections = db.execute(_FACTS).one()
    return DatabaseFacts(str(version).split(" ", maxsplit=1)[0], str(revision), int(size), int(connections))
