"""Which proxies are to be probed by us, and what that has cost: a probe is billed traffic, and the house pays it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from whago.domain.models import ProbeDay, Provider, Proxy
from whago.domain.queries.monitor_targets import Upstream, upstream_of
from whago.domain.rules.health import PROOF_FRESH, REFUSALS_TO_ASK
from whago.domain.rules.sticky import provider_token
from whago.kit.crypto import Vault
from whago.kit.db import reading

IDLE_AFTER: Final = timedelta(minutes=30)  # without a chip's attempt and without one of ours
AGAIN_AFTER: Final = timedelta(seconds=55)  # an idle proxy whose last probe failed: three of them take it out
TRIAL_EVERY: Final = timedelta(seconds=10)  # a good probe on trial may not be enough: the next one soon
ACCOUNT_EVERY: Final = timedelta(seconds=60)  # a provider whose account is, or may be, in trouble

Pair = tuple[Proxy, Provider]


def probes_due(vault: Vault, *, now: datetime, limit: int, survivors: bool, with_idle: bool) -> list[Upstream]:
    """Proxies on trial first, then accounts in doubt, the ``survivors`` that chips wait for, and last what is idle."""
    with reading() as db:
        pairs = [*_on_trial(db, now, limit), *_accounts(db, now)]
        if survivors:
            pairs += _survivors(db, now, limit)
        if with_idle:
            pairs += _idle(db, now, limit)
    chosen = {proxy.id: (proxy, provider) for proxy, provider in reversed(pairs)}
    ordered = list(reversed(chosen.items()))[:limit]
    made = (upstream_of(vault, ident, provider, proxy, probe_token(ident)) for ident, (proxy, provider) in ordered)
    return [one for one in made if one is not None]


def probe_token(proxy_id: UUID) -> str:
    """A sticky session of nobody's."""
    return provider_token(f"probe-{proxy_id}")


def health_bytes_today(*, now: datetime, tz: ZoneInfo) -> int:
    """What health probes have moved since midnight of the billing zone."""
    query = select(func.coalesce(func.sum(ProbeDay.bytes), 0)).where(
        ProbeDay.day == now.astimezone(tz).date(), ProbeDay.purpose == "health"
    )
    with reading() as db:
        return int(db.scalar(query) or 0)


def _on_trial(db: Session, now: datetime, limit: int) -> Sequence[Pair]:
    due = and_(Proxy.ejected_until <= now, _not_since(now - TRIAL_EVERY))
    return _pairs(db, _active().where(due).order_by(Proxy.ejected_until).limit(limit))


def _accounts(db: Session, now: datetime) -> Sequence[Pair]:
    """One proxy, the first that is in, of every provider that refuses."""
    doubtful = or_(Provider.trouble.is_not(None), Proxy.refusals >= REFUSALS_TO_ASK)
    query = (
        _active()
        .where(doubtful, Proxy.credentials == {})
        .ext(distinct_on(Provider.id))
        .order_by(Provider.id, Proxy.ejected_until.is_not(None), Proxy.id)
    )
    return [pair for pair in _pairs(db, query) if _unseen(pair[0], now - ACCOUNT_EVERY)]


def _survivors(db: Session, now: datetime, limit: int) -> Sequence[Pair]:
    """Proxies that are in and have not answered lately: before they may take chips they must."""
    unproven = or_(Proxy.last_ok_at.is_(None), Proxy.last_ok_at < now - PROOF_FRESH)
    due = and_(Proxy.ejected_until.is_(None), unproven, _not_since(now - TRIAL_EVERY))
    return _pairs(db, _active().where(due).order_by(Provider.priority, Proxy.id).limit(limit))


def _idle(db: Session, now: datetime, limit: int) -> Sequence[Pair]:
    failing = and_(Proxy.consecutive_failures > 0, _not_since(now - AGAIN_AFTER), _unused_since(now - AGAIN_AFTER))
    due = or_(failing, and_(_not_since(now - IDLE_AFTER), _unused_since(now - IDLE_AFTER)))
    order = ((Proxy.consecutive_failures > 0).desc(), Proxy.last_checked_at.asc().nulls_first())
    return _pairs(db, _active().where(Proxy.ejected_until.is_(None), due).order_by(*order).limit(limit))


def _active() -> Select[*tuple[Proxy, Provider]]:
    return (
        select(Proxy, Provider)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(Proxy.is_active, Proxy.deleted_at.is_(None), Provider.is_active, Provider.deleted_at.is_(None))
    )


def _pairs(db: Session, query: Select[*tuple[Proxy, Provider]]) -> Sequence[Pair]:
    return [(proxy, provider) for proxy, provider in db.execute(query)]


def _not_since(moment: datetime) -> ColumnElement[bool]:
    return or_(Proxy.last_checked_at.is_(None), Proxy.last_checked_at < moment)


def _unused_since(moment: datetime) -> ColumnElement[bool]:
    return or_(Proxy.last_dial_at.is_(None), Proxy.last_dial_at < moment)


def _unseen(proxy: Proxy, moment: datetime) -> bool:
    return proxy.last_checked_at is None or proxy.last_checked_at < moment
