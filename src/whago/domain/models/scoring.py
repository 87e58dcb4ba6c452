"""From what is known of the pool to scores, ejections and returns, inside the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models.chips import Assignment
from whago.domain.models.proxies import Provider, Proxy
from whago.domain.rules.health import (
    TRIAL_FORGIVES,
    Eject,
    Return,
    Term,
    decayed,
    eject,
    judge,
    provider_median,
    score_of,
    terms,
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A proxy was taken out or came back."""

    proxy_id: UUID
    decision: Eject | Return
    score: int


def rescore(db: Session, *, now: datetime, only: Collection[UUID] | None = None) -> list[Turn]:
    """Scores the active pool, or ``only`` some of it, and carries out what follows. Rows that somebody holds wait."""
    pool = _active(db)
    medians = medians_of(pool)
    chips = chips_on_each(db)
    due = [one for one in pool if only is None or one.id in only]
    changing = [one.id for one in due if _differs(one, medians, chips, now)]
    if not changing:
        return []
    rows = db.scalars(
        select(Proxy)
        .where(Proxy.id.in_(changing))
        .order_by(Proxy.id)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    return [turn for proxy in rows if (turn := _apply(proxy, medians, chips, now)) is not None]


def explained(proxy: Proxy, medians: Mapping[UUID, float | None], chips: int, now: datetime) -> tuple[Term, ...]:
    """The terms of one proxy's score."""
    return terms(replace(proxy.evidence, chips=chips), median_ms=medians.get(proxy.provider_id), now=now)


def medians_of(pool: Sequence[Proxy]) -> dict[UUID, float | None]:
    """Each provider's middle latency, of what is measured."""
    measured: dict[UUID, list[int]] = defaultdict(list)
    for proxy in pool:
        if proxy.latency_ms is not None:
            measured[proxy.provider_id].append(proxy.latency_ms)
    return {provider_id: provider_median(latencies) for provider_id, latencies in measured.items()}


def chips_on_each(db: Session) -> dict[UUID, int]:
    """Active assignments by proxy."""
    query = select(Assignment.proxy_id, func.count()).where(Assignment.released_at.is_(None))
    return dict(db.execute(query.group_by(Assignment.proxy_id)).all())


def weigh(proxy: Proxy, *, ok: bool, now: datetime) -> None:
    """Adds one attempt of our own. A good one while the proxy is on trial also forgives half of what it did before."""
    proxy.ok_weight = decayed(proxy.ok_weight, proxy.weighed_at, now)
    proxy.bad_weight = decayed(proxy.bad_weight, proxy.weighed_at, now)
    proxy.weighed_at = max(now, proxy.weighed_at or now)
    if ok:
        proxy.ok_weight += 1
        proxy.consecutive_failures = proxy.refusals = 0
        proxy.last_ok_at = now
        if is_on_trial(proxy, now):
            proxy.bad_weight *= TRIAL_FORGIVES
    else:
        proxy.bad_weight += 1
        proxy.consecutive_failures += 1
        if is_on_trial(proxy, now):
            _take_out(proxy, eject(proxy.standing, proxy_id=proxy.id, now=now))


def is_on_trial(proxy: Proxy, now: datetime) -> bool:
    """Its time is over; the next attempt decides."""
    return proxy.ejected_until is not None and now >= proxy.ejected_until


def _active(db: Session) -> Sequence[Proxy]:
    return db.scalars(
        select(Proxy)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(Proxy.is_active, Proxy.deleted_at.is_(None), Provider.is_active, Provider.deleted_at.is_(None))
    ).all()


def _differs(proxy: Proxy, medians: Mapping[UUID, float | None], chips: Mapping[UUID, int], now: datetime) -> bool:
    score = score_of(explained(proxy, medians, chips.get(proxy.id, 0), now))
    standing = replace(proxy.standing, score=score)
    return score != proxy.health_score or judge(standing, proxy_id=proxy.id, now=now) is not None


def _apply(proxy: Proxy, medians: Mapping[UUID, float | None], chips: Mapping[UUID, int], now: datetime) -> Turn | None:
    proxy.health_score = score_of(explained(proxy, medians, chips.get(proxy.id, 0), now))
    match judge(proxy.standing, proxy_id=proxy.id, now=now):
        case Eject() as decision:
            _take_out(proxy, decision)
        case Return() as decision:
            proxy.ejected_until, proxy.returned_at = None, now
        case None:
            return None
    return Turn(proxy.id, decision, proxy.health_score)


def _take_out(proxy: Proxy, decision: Eject) -> None:
    proxy.ejected_until, proxy.ejections = decision.until, decision.times
