"""The pool: proxies added, changed and removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import Assignment, Provider, Proxy
from whago.domain.models.assigning import ASSIGNING, chips_on
from whago.domain.models.auditing import audit
from whago.domain.models.moving import move_or_wait
from whago.errors import InvalidInput, WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import locked, signal, transaction
from whago.kit.ids import new_id


@dataclass(frozen=True, slots=True)
class ProxyFields:
    """A proxy as an administrator gives it. ``proxy_url`` is ``scheme://host:port`` without userinfo.

    ``credentials`` are the proxy's own (static lists); None keeps what is stored, or uses the provider's.
    """

    proxy_type: str
    proxy_url: str
    region: str | None
    max_chips: int | None
    is_active: bool
    credentials: dict[str, str] | None = field(default=None, repr=False)
    is_draining: bool = False


def create_proxies(
    actor_id: UUID | None, provider_id: UUID, wanted: Sequence[ProxyFields], *, vault: Vault, now: datetime
) -> list[UUID]:
    """Adds proxies to a provider, all or none. Raises WhagoError("not_found")."""
    with transaction() as db:
        provider = db.scalar(select(Provider.id).where(Provider.id == provider_id, Provider.deleted_at.is_(None)))
        if provider is None:
            raise WhagoError("not_found")
        made = [
            Proxy(
                id=new_id(),
                provider_id=provider_id,
                proxy_type=one.proxy_type,
                proxy_url=one.proxy_url,
                credentials=vault.seal(one.credentials) if one.credentials else {},
                region=one.region,
                max_chips=one.max_chips,
                is_active=one.is_active,
                is_draining=one.is_draining,
                created_at=now,
                updated_at=now,
            )
            for one in wanted
        ]
        db.add_all(made)
        for proxy in made:
            audit(db, actor_id, "proxy.create", "proxy", proxy.id, now, provider_id=str(provider_id))
        return [proxy.id for proxy in made]


def update_proxy(actor_id: UUID | None, proxy_id: UUID, wanted: ProxyFields, *, vault: Vault, now: datetime) -> None:
    """Raises WhagoError("not_found"), or InvalidInput when more chips are on it than it would have room for."""
    with transaction() as db:
        locked(db, ASSIGNING)
        proxy = _locked(db, proxy_id)
        chips = db.scalar(select(func.count()).where(Assignment.proxy_id == proxy_id, Assignment.released_at.is_(None)))
        if wanted.proxy_type != proxy.proxy_type and chips:
            raise InvalidInput(proxy_type="The type cannot change while chips use this proxy.")
        if wanted.max_chips is not None and (chips or 0) > wanted.max_chips:
            raise InvalidInput(max_chips="More chips than this use the proxy now. Move some first.")
        if wanted.proxy_url != proxy.proxy_url or wanted.credentials:
            proxy.start_afresh()
        proxy.proxy_type, proxy.proxy_url = wanted.proxy_type, wanted.proxy_url
        proxy.region, proxy.max_chips, proxy.is_active = wanted.region, wanted.max_chips, wanted.is_active
        if wanted.credentials:
            proxy.credentials = vault.seal(wanted.credentials)
        drain = {"is_draining": wanted.is_draining} if wanted.is_draining != proxy.is_draining else {}
        proxy.is_draining, proxy.updated_at = wanted.is_draining, now
        audit(db, actor_id, "proxy.update", "proxy", proxy_id, now, **drain)
        signal(db, "proxy", proxy_id)


def delete_proxy(actor_id: UUID | None, proxy_id: UUID, *, force: bool, now: datetime) -> int:
    """With ``force`` its chips move first (or wait). Raises WhagoError: not_found, proxy_in_use (names the chips)."""
    with transaction() as db:
        locked(db, ASSIGNING)
        proxy = _locked(db, proxy_id)
        chips = chips_on(db, proxy_id=proxy_id)
        if chips and not force:
            named = [{"id": str(chip.id), "alias": chip.alias} for chip in chips[:50]]
            raise WhagoError("proxy_in_use", count=len(chips), chips=named)
        proxy.is_active, proxy.deleted_at, proxy.updated_at = False, now, now
        db.flush()
        for chip in chips:
            move_or_wait(db, chip, reason="proxy_deleted", now=now, avoid=[proxy_id])
        audit(db, actor_id, "proxy.delete", "proxy", proxy_id, now, moved=len(chips))
        signal(db, "proxy", proxy_id)
        return len(chips)


def _locked(db: Session, proxy_id: UUID) -> Proxy:
    proxy = db.scalars(
        select(Proxy).where(Proxy.id == proxy_id, Proxy.deleted_at.is_(None)).with_for_update()
    ).one_or_none()
    if proxy is None:
        raise WhagoError("not_found")
    return proxy
