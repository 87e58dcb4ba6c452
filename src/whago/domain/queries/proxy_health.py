"""Why a proxy has the score that it has: every term, and where the proxy stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select

from whago.domain.models import Assignment, Provider, Proxy
from whago.domain.models.scoring import explained, is_on_trial, medians_of
from whago.domain.rules.health import ProxyState, Term, score_of
from whago.errors import WhagoError
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class ProxyHealth:
    """``score`` is 100 and the points of ``terms``, as of now. ``streak`` and ``refusals``: since the last success.

    ``ejections``: how often in a row the proxy was taken out. ``provider_trouble``: a diagnosis of the account.
    """

    id: UUID
    proxy_url: str
    provider: str
    score: int
    terms: Sequence[Term]
    state: ProxyState
    streak: int
    refusals: int
    ejected_until: datetime | None
    ejections: int
    returned_at: datetime | None
    last_ok_at: datetime | None
    last_dial_at: datetime | None
    last_checked_at: datetime | None
    last_error: str | None
    provider_trouble: str | None
    is_draining: bool


def proxy_health(proxy_id: UUID, *, now: datetime) -> ProxyHealth:
    """Raises WhagoError("not_found")."""
    found = select(Proxy, Provider).join(Provider).where(Proxy.id == proxy_id, Proxy.deleted_at.is_(None))
    on_it = select(func.count()).where(Assignment.proxy_id == proxy_id, Assignment.released_at.is_(None))
    with reading() as db:
        row = db.execute(found).one_or_none()
        if row is None:
            raise WhagoError("not_found")
        proxy, provider = row
        peers = select(Proxy).where(Proxy.provider_id == provider.id, Proxy.is_active, Proxy.deleted_at.is_(None))
        terms = explained(proxy, medians_of(db.scalars(peers).all()), db.scalar(on_it) or 0, now)
    return ProxyHealth(
        id=proxy.id,
        proxy_url=proxy.proxy_url,
        provider=provider.name,
        score=score_of(terms),
        terms=terms,
        state=_state(proxy, now),
        streak=proxy.consecutive_failures,
        refusals=proxy.refusals,
        ejected_until=proxy.ejected_until,
        ejections=proxy.ejections,
        returned_at=proxy.returned_at,
        last_ok_at=proxy.last_ok_at,
        last_dial_at=proxy.last_dial_at,
        last_checked_at=proxy.last_checked_at,
        last_error=proxy.last_error,
        provider_trouble=provider.trouble if not proxy.has_own_login else None,
        is_draining=proxy.is_draining or provider.is_draining,
    )


def _state(proxy: Proxy, now: datetime) -> ProxyState:
    if proxy.ejected_until is None:
        return "in"
    return "trial" if is_on_trial(proxy, now) else "out"
