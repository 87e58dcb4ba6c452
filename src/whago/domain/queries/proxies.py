"""Providers and the pool, for administrators. No credential leaves through here, only whether there is one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, case, func, select

from whago.domain.models import Assignment, Provider, Proxy
from whago.domain.models.proxies import takes_chips
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
from whago.domain.rules.health import ProxyState
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class ProviderView:
    """``health_score`` is the average of its active proxies; None without any. ``proxies_out``: ejected ones."""

    id: UUID
    name: str
    provider_type: str
    preset: str
    protocol: str
    host: str | None
    port: int | None
    username_template: str
    password_template: str
    has_credentials: bool
    country: str | None
    region: str | None
    lifetime_min: int
    ip_check_url: str | None
    country_form: str
    exit_ip_policy: str
    exit_ip_every_min: int
    cost_per_gb: Decimal
    currency: str
    bytes_per_gb: int
    priority: int
    weight: int
    is_active: bool
    is_draining: bool
    trouble: str | None
    trouble_since: datetime | None
    is_demo: bool
    proxies: int
    proxies_out: int
    chips: int
    health_score: int | None
    total_bytes_used: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ProxyView:
    """One proxy of the pool. ``healthy``: it takes new chips. ``has_credentials``: its own, not the provider's.

    ``region`` is what counts: ``own_region``, or the provider's.
    """

    id: UUID
    provider_id: UUID
    provider: str
    proxy_type: str
    proxy_url: str
    has_credentials: bool
    own_region: str | None
    region: str | None
    max_chips: int | None
    chips: int
    health_score: int
    healthy: bool
    is_active: bool
    is_draining: bool
    provider_is_draining: bool
    state: ProxyState
    ejected_until: datetime | None
    total_bytes_used: int
    latency_ms: int | None
    consecutive_failures: int
    last_checked_at: datetime | None
    last_error: str | None
    created_at: datetime
    updated_at: datetime


CHIPS_OF_PROXY = (
    select(func.count())
    .select_from(Assignment)
    .where(Assignment.proxy_id == Proxy.id, Assignment.released_at.is_(None))
    .correlate(Proxy)
    .scalar_subquery()
)
CHIPS_OF_PROVIDER = (
    select(func.count())
    .select_from(Assignment)
    .where(Assignment.provider_id == Provider.id, Assignment.released_at.is_(None))
    .correlate(Provider)
    .scalar_subquery()
)

STATE = case((Proxy.ejected_until.is_(None), "in"), (Proxy.ejected_until <= func.now(), "trial"), else_="out")


def list_providers(vault: Vault, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[ProviderView]:
    """The providers in the order in which they are asked."""
    order = Order((Provider.priority, Provider.name, Provider.id), (as_number, as_text, as_id))
    with reading() as db:
        return page_of(
            db,
            _providers(),
            order,
            limit=limit,
            cursor=cursor,
            make=lambda row: _provider_view(row, vault),
            key=lambda one: (one.priority, one.name, one.id),
        )


def get_provider(vault: Vault, provider_id: UUID) -> ProviderView:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        row = db.execute(_providers().where(Provider.id == provider_id)).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return _provider_view(row, vault)


def list_pool(
    vault: Vault,
    *,
    provider_id: UUID | None = None,
    search: str | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[ProxyView]:
    """The proxies, newest first; ``search`` looks into their address and region."""
    order = Order((Proxy.created_at, Proxy.id), (as_moment, as_id), descending=True)
    query = _pool()
    if provider_id is not None:
        query = query.where(Proxy.provider_id == provider_id)
    if search:
        query = query.where(has_text(search, Proxy.proxy_url, Proxy.region))
    with reading() as db:
        return page_of(
            db,
            query,
            order,
            limit=limit,
            cursor=cursor,
            make=lambda row: _proxy_view(row, vault),
            key=lambda one: (one.created_at, one.id),
        )


def get_proxy(vault: Vault, proxy_id: UUID) -> ProxyView:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        row = db.execute(_pool().where(Proxy.id == proxy_id)).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return _proxy_view(row, vault)


def logins_at(vault: Vault, urls: Collection[str]) -> set[tuple[str, str]]:
    """(``host:port``, user) of the living proxies at these addresses, whatever their protocol; user "" has no login."""
    address = func.split_part(Proxy.proxy_url, "://", 2)
    query = select(address, Proxy.credentials).where(
        Proxy.deleted_at.is_(None), address.in_({url.partition("://")[2] for url in urls})
    )
    with reading() as db:
        rows = db.execute(query).all()
    return {(found, _user(vault, stored)) for found, stored in rows}


def _user(vault: Vault, stored: dict[str, Any]) -> str:
    try:
        return vault.open(stored).get("username", "") if stored else ""
    except WhagoError:  # sealed under a key that is gone
        return ""


def _providers() -> Select[*tuple[Any, ...]]:
    pool = (
        select(
            Proxy.provider_id,
            func.count().label("proxies"),
            func.avg(Proxy.health_score).filter(Proxy.is_active).label("health"),
            func.sum(Proxy.total_bytes_used).label("bytes"),
            func.count().filter(Proxy.is_active, Proxy.ejected_until.is_not(None)).label("out"),
        )
        .where(Proxy.deleted_at.is_(None))
        .group_by(Proxy.provider_id)
        .subquery()
    )
    return (
        select(Provider, pool.c.proxies, pool.c.health, pool.c.bytes, pool.c.out, CHIPS_OF_PROVIDER)
        .outerjoin(pool, pool.c.provider_id == Provider.id)
        .where(Provider.deleted_at.is_(None))
    )


def _pool() -> Select[*tuple[Any, ...]]:
    return (
        select(Proxy, Provider, CHIPS_OF_PROXY, takes_chips(), STATE)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(Proxy.deleted_at.is_(None))
    )


def _provider_view(row: Any, vault: Vault) -> ProviderView:
    one, proxies, health, used, out, chips = row
    return ProviderView(
        id=one.id,
        name=one.name,
        provider_type=one.provider_type,
        preset=one.preset,
        protocol=one.protocol,
        host=one.host,
        port=one.port,
        username_template=one.username_template,
        password_template=one.password_template,
        has_credentials=_has_content(vault, one.credentials),
        country=one.country,
        region=one.region,
        lifetime_min=one.lifetime_min,
        ip_check_url=one.ip_check_url,
        country_form=one.country_form,
        exit_ip_policy=one.exit_ip_policy,
        exit_ip_every_min=one.exit_ip_every_min,
        cost_per_gb=one.cost_per_gb,
        currency=one.currency,
        bytes_per_gb=one.bytes_per_gb,
        priority=one.priority,
        weight=one.weight,
        is_active=one.is_active,
        is_draining=one.is_draining,
        trouble=one.trouble,
        trouble_since=one.trouble_since,
        is_demo=one.is_demo,
        proxies=proxies or 0,
        proxies_out=out or 0,
        chips=chips,
        health_score=round(health) if health is not None else None,
        total_bytes_used=int(used or 0),
        created_at=one.created_at,
        updated_at=one.updated_at,
    )


def _proxy_view(row: Any, vault: Vault) -> ProxyView:
    proxy, provider, chips, healthy, state = row
    return ProxyView(
        id=proxy.id,
        provider_id=provider.id,
        provider=provider.name,
        proxy_type=proxy.proxy_type,
        proxy_url=proxy.proxy_url,
        has_credentials=_has_content(vault, proxy.credentials),
        own_region=proxy.region,
        region=proxy.region or provider.region,
        max_chips=proxy.capacity,
        chips=chips,
        health_score=proxy.health_score,
        healthy=healthy,
        is_active=proxy.is_active,
        is_draining=proxy.is_draining,
        provider_is_draining=provider.is_draining,
        state=state,
        ejected_until=proxy.ejected_until,
        total_bytes_used=proxy.total_bytes_used,
        latency_ms=proxy.latency_ms,
        consecutive_failures=proxy.consecutive_failures,
        last_checked_at=proxy.last_checked_at,
        last_error=proxy.last_error,
        created_at=proxy.created_at,
        updated_at=proxy.updated_at,
    )


def _has_content(vault: Vault, stored: dict[str, Any]) -> bool:
    try:
        return any(vault.open(stored).values())
    except WhagoError:  # sealed under a key that is gone: it is there, though of no use
        return True
