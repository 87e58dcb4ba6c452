"""Assignments whose exit is to be looked at: new ones, those whose chip reconnected, and those whose turn it is."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select

from whago.domain.models import Assignment, Chip, ExitIpObservation, Provider, Proxy
from whago.domain.queries.monitor_targets import Upstream, upstream_of
from whago.domain.rules.continuity import RECONNECT_REST
from whago.kit.crypto import Vault
from whago.kit.db import reading


def exits_to_observe(vault: Vault, *, now: datetime, limit: int) -> list[Upstream]:
    """Assignments of living chips: never seen ones first, then those that have waited longest.

    Each provider says how often (``exit_ip_every_min``). A chip that connected after the last look is due too.
    """
    seen_at = _last_seen()
    every = func.make_interval(0, 0, 0, 0, 0, Provider.exit_ip_every_min)
    reconnected = (Chip.connected_at > seen_at) & (seen_at < now - RECONNECT_REST)
    due = seen_at.is_(None) | (seen_at < now - every) | reconnected
    query = _living().where(due).order_by(seen_at.asc().nulls_first(), Assignment.assigned_at.desc()).limit(limit)
    return _upstreams(vault, query)


def exits_of(vault: Vault, assignment_ids: Collection[UUID]) -> list[Upstream]:
    """How to look at the exits of these assignments now; those that have ended are left out."""
    return _upstreams(vault, _living().where(Assignment.id.in_(assignment_ids))) if assignment_ids else []


def _last_seen() -> Any:
    return (
        select(func.max(ExitIpObservation.last_seen_at))
        .where(ExitIpObservation.assignment_id == Assignment.id)
        .correlate(Assignment)
        .scalar_subquery()
    )


def _living() -> Select[Assignment, Proxy, Provider]:
    return (
        select(Assignment, Proxy, Provider)
        .join(Chip, Chip.id == Assignment.chip_id)
        .join(Proxy, Proxy.id == Assignment.proxy_id)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Assignment.released_at.is_(None),
            Chip.deleted_at.is_(None),
            Proxy.is_active,
            Provider.is_active,
        )
    )


def _upstreams(vault: Vault, query: Select[Assignment, Proxy, Provider]) -> list[Upstream]:
    with reading() as db:
        rows = db.execute(query).all()
    return [
        one for assignment, proxy, provider in rows
        if (one := upstream_of(vault, assignment.id, provider, proxy, assignment.session_token)) is not None
    ]  # fmt: skip
