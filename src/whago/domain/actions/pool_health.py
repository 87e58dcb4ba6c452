"""Health of the pool: what probes say, scores with their ejections and returns, and telling administrators of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Chip, Provider, Proxy, Severity
from whago.domain.models.alerting import clear_others, raise_alert
from whago.domain.models.scoring import Turn, rescore, weigh
from whago.domain.rules.failover import STEPS
from whago.domain.rules.health import LATENCY_WEIGHT, Blame
from whago.errors import WhagoError
from whago.kit.db import transaction

EJECTIONS_TOLD: Final = 5  # of one provider at once: beyond that it is the provider's affair, told as one
MOVING_WITHIN: Final = timedelta(hours=1)  # a moved chip that did not come by then was not waiting for its proxy
CHANGES_WITHIN: Final = timedelta(days=1)  # the IP stability of a day, as the score explains it


@dataclass(frozen=True, slots=True)
class Attempt:
    """One active probe. ``speaks_against`` counts when it failed; ``error`` is a sentence, ``diagnosis`` its code."""

    success: bool
    latency_ms: int | None = None
    error: str | None = None
    diagnosis: str | None = None
    speaks_against: Blame = Blame.NOBODY


def record_probe(proxy_id: UUID, attempt: Attempt, *, now: datetime) -> int:
    """Takes over an active probe; returns the score. Raises WhagoError("not_found")."""
    with transaction() as db:
        provider = _locked_provider(db, proxy_id)
        proxy = db.scalars(
            select(Proxy).where(Proxy.id == proxy_id, Proxy.deleted_at.is_(None)).with_for_update(key_share=True)
        ).one_or_none()
        if proxy is None:
            raise WhagoError("not_found")
        proxy.last_checked_at, proxy.last_error = now, attempt.error
        about_account = attempt.speaks_against is Blame.ACCOUNT and not proxy.has_own_login
        if attempt.success or attempt.speaks_against is Blame.TARGET:  # it let us through to what then refused
            _take_latency(proxy, attempt.latency_ms)
            weigh(proxy, ok=True, now=now)
        elif about_account:
            provider.trouble_since = provider.trouble_since or now
            provider.trouble = attempt.diagnosis
        elif attempt.speaks_against in (Blame.PROXY, Blame.ACCOUNT):
            weigh(proxy, ok=False, now=now)
        if attempt.success and not proxy.has_own_login:
            provider.trouble = provider.trouble_since = None
        db.flush()
        rescore(db, now=now, only=[proxy_id])
        return proxy.health_score


def score_pool(*, now: datetime) -> list[Turn]:
    """Scores every proxy and carries out ejections and returns. A provider that serves again is out of trouble."""
    with transaction() as db:
        _end_troubles(db)
        return rescore(db, now=now)


def count_exit_changes(*, now: datetime) -> int:
    """Brings each proxy's silent IP changes of the last day up to date; returns how many proxies differ from before."""
    with transaction() as db:
        changed = db.scalars(_COUNT_CHANGES, {"since": now - CHANGES_WITHIN})
        return len(changed.all())


_COUNT_CHANGES: Final = text(
    """
    WITH changes AS (
        SELECT a.proxy_id, count(*) AS n
          FROM exit_ip_observations o JOIN chip_proxy_assignments a ON a.id = o.assignment_id
         WHERE o.first_seen_at > :since
           AND EXISTS (SELECT 1 FROM exit_ip_observations e
                        WHERE e.assignment_id = o.assignment_id AND e.first_seen_at < o.first_seen_at)
         GROUP BY a.proxy_id
    ), differing AS (
        SELECT p.id, coalesce(c.n, 0) AS n FROM proxies p LEFT JOIN changes c ON c.proxy_id = p.id
         WHERE p.deleted_at IS NULL AND p.ip_changes <> coalesce(c.n, 0)
         ORDER BY p.id FOR NO KEY UPDATE OF p SKIP LOCKED
    )
    UPDATE proxies p SET ip_changes = d.n FROM differing d WHERE p.id = d.id RETURNING p.id
    """
)


def tell_pool_state(*, now: datetime) -> None:
    """Alerts follow what is: proxies that are out, providers that are down, customers whose chips had to move."""
    with transaction() as db:
        pool = _pool(db)
        down = {provider.id: provider for provider, proxies in pool if _is_down(provider, proxies)}
        out = [one for provider, proxies in pool if provider.id not in down for one in _out(proxies)[:EJECTIONS_TOLD]]
        names = {provider.id: provider.name for provider, _proxies in pool}
        for proxy in sorted(out, key=lambda one: one.id):
            facts = {"proxy": proxy.proxy_url, "provider": names[proxy.provider_id], "score": proxy.health_score}
            raise_alert(
                db, "proxy_ejected", str(proxy.id), now=now, severity=Severity.WARNING, to_admins=True, data=facts
            )
        for provider_id, provider in sorted(down.items()):
            facts = {"provider": provider.name, "diagnosis": provider.trouble or "proxy_down"}
            raise_alert(
                db, "provider_down", str(provider_id), now=now, severity=Severity.ERROR, to_admins=True, data=facts
            )
        clear_others(db, "proxy_ejected", {str(one.id) for one in out}, now=now)
        clear_others(db, "provider_down", {str(provider_id) for provider_id in down}, now=now)
        clear_others(db, "proxy_failed_over", _moving_customers(db, now), now=now)


def _locked_provider(db: Session, proxy_id: UUID) -> Provider:
    """Before its proxy, as everybody locks them."""
    provider = db.scalars(
        select(Provider)
        .join(Proxy, Proxy.provider_id == Provider.id)
        .where(Proxy.id == proxy_id)
        .with_for_update(of=Provider, key_share=True)
    ).one_or_none()
    if provider is None:
        raise WhagoError("not_found")
    return provider


def _take_latency(proxy: Proxy, latency_ms: int | None) -> None:
    if latency_ms is None:
        return
    before = proxy.latency_ms if proxy.latency_ms is not None else latency_ms
    proxy.latency_ms = round(before * (1 - LATENCY_WEIGHT) + latency_ms * LATENCY_WEIGHT)


def _end_troubles(db: Session) -> None:
    served = (
        select(Proxy.id)
        .where(Proxy.provider_id == Provider.id, Proxy.last_ok_at > Provider.trouble_since, Proxy.credentials == {})
        .exists()
    )
    db.execute(
        update(Provider)
        .where(Provider.trouble.is_not(None), served)
        .values(trouble=None, trouble_since=None)
        .execution_options(synchronize_session=False)
    )


def _pool(db: Session) -> list[tuple[Provider, Sequence[Proxy]]]:
    """Active providers with their active proxies."""
    proxies: dict[UUID, list[Proxy]] = defaultdict(list)
    for one in db.scalars(select(Proxy).where(Proxy.is_active, Proxy.deleted_at.is_(None))):
        proxies[one.provider_id].append(one)
    providers = db.scalars(select(Provider).where(Provider.is_active, Provider.deleted_at.is_(None)))
    return [(provider, proxies[provider.id]) for provider in providers]


def _is_down(provider: Provider, proxies: Sequence[Proxy]) -> bool:
    """Its account is in trouble, or none of its proxies is in."""
    return provider.trouble is not None or (bool(proxies) and len(_out(proxies)) == len(proxies))


def _out(proxies: Sequence[Proxy]) -> list[Proxy]:
    return [one for one in proxies if one.ejected_until is not None]


def _moving_customers(db: Session, now: datetime) -> set[str]:
    """Subjects of customers with a chip that was moved and has not opened a tunnel since."""
    owners = db.scalars(
        select(func.distinct(Chip.user_id))
        .join(Assignment, Assignment.chip_id == Chip.id)
        .where(
            Assignment.released_at.is_(None),
            Assignment.assign_reason.in_(STEPS),
            Assignment.first_ok_at.is_(None),
            Assignment.assigned_at > now - MOVING_WITHIN,
            Chip.deleted_at.is_(None),
        )
    )
    return {str(owner_id) for owner_id in owners}
