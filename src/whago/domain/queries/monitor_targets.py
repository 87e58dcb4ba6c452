"""What the clocks have to look at: proxies due for a check, assignments whose exit is not known, chips that wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import func, select

from whago.domain.models import Assignment, Chip, ChipStatus, ExitIpObservation, Provider, Proxy
from whago.domain.queries.passes import upstream_login
from whago.domain.rules.dialect import Login
from whago.domain.rules.selection import HEALTHY_SCORE
from whago.domain.rules.sticky import provider_token
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import reading

CHECK_IDLE_AFTER = timedelta(minutes=30)  # a check is billed traffic: a proxy that works is asked rarely
CHECK_FAILING_AFTER = timedelta(seconds=55)  # one that does not is asked at every sweep: chips may wait for it
OBSERVE_AFTER = timedelta(hours=1)  # how long an exit IP is taken as known


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where to dial and as whom. ``subject`` is the proxy or the assignment that it is about."""

    subject: UUID
    protocol: Literal["http", "socks5"]
    host: str
    port: int
    login: Login = field(repr=False)
    ip_check_url: str | None


def proxies_to_check(vault: Vault, *, now: datetime, limit: int) -> list[Upstream]:
    """Active proxies whose last check is too long ago; failing ones first, then those that waited longest."""
    failing = (Proxy.consecutive_failures > 0) | (Proxy.health_score < HEALTHY_SCORE)
    query = (
        select(Proxy, Provider)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Proxy.is_active,
            Proxy.deleted_at.is_(None),
            Provider.is_active,
            Provider.deleted_at.is_(None),
            Proxy.last_checked_at.is_(None)
            | (Proxy.last_checked_at < now - CHECK_IDLE_AFTER)
            | (failing & (Proxy.last_checked_at < now - CHECK_FAILING_AFTER)),
        )
        .order_by(failing.desc(), Proxy.last_checked_at.asc().nulls_first())
        .limit(limit)
    )
    with reading() as db:
        rows = db.execute(query).all()
    return [
        one for proxy, provider in rows
        if (one := _upstream(vault, proxy.id, provider, proxy, provider_token(f"probe-{proxy.id}"))) is not None
    ]  # fmt: skip


def exits_to_observe(vault: Vault, *, now: datetime, limit: int) -> list[Upstream]:
    """Assignments of living chips whose exit nobody has seen yet, or not lately; new ones first."""
    seen_at = (
        select(func.max(ExitIpObservation.last_seen_at))
        .where(ExitIpObservation.assignment_id == Assignment.id)
        .correlate(Assignment)
        .scalar_subquery()
    )
    query = (
        select(Assignment, Proxy, Provider)
        .join(Chip, Chip.id == Assignment.chip_id)
        .join(Proxy, Proxy.id == Assignment.proxy_id)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Assignment.released_at.is_(None),
            Chip.deleted_at.is_(None),
            Proxy.is_active,
            Provider.is_active,
            seen_at.is_(None) | (seen_at < now - OBSERVE_AFTER),
        )
        .order_by(seen_at.asc().nulls_first(), Assignment.assigned_at.desc())
        .limit(limit)
    )
    with reading() as db:
        rows = db.execute(query).all()
    return [
        one for assignment, proxy, provider in rows
        if (one := _upstream(vault, assignment.id, provider, proxy, assignment.session_token)) is not None
    ]  # fmt: skip


def waiting_chips(*, limit: int) -> list[UUID]:
    """Chips that have no proxy, the longest living first."""
    query = (
        select(Chip.id)
        .where(Chip.status == ChipStatus.WAITING_PROXY, Chip.deleted_at.is_(None))
        .order_by(Chip.created_at, Chip.id)
        .limit(limit)
    )
    with reading() as db:
        return list(db.scalars(query))


def _upstream(vault: Vault, subject: UUID, provider: Provider, proxy: Proxy, token: str) -> Upstream | None:
    """None when its login cannot be made: sealed under a key that is gone, or too long."""
    address = urlsplit(proxy.proxy_url)
    try:
        login = upstream_login(provider, proxy, token, vault)
    except (WhagoError, ValueError):
        return None
    return Upstream(
        subject=subject,
        protocol=cast("Literal['http', 'socks5']", address.scheme),
        host=address.hostname or "",
        port=address.port or 0,
        login=login,
        ip_check_url=provider.ip_check_url,
    )
