"""What people call things that machines know by id. For operators only: it asks for no owner."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import Chip, Provider, Proxy, User
from whago.kit.db import reading


def names_of(
    *, users: Collection[UUID] = (), chips: Collection[UUID] = (), proxies: Collection[UUID] = ()
) -> dict[UUID, str]:
    """A customer's e-mail, a chip's alias, a proxy's provider and host. What is not known is left out."""
    pool = select(Proxy.id, Provider.name, Proxy.proxy_url).join(Provider, Provider.id == Proxy.provider_id)
    with reading() as db:
        named = dict(db.execute(select(User.id, User.email).where(User.id.in_(users))).tuples().all())
        named |= dict(db.execute(select(Chip.id, Chip.alias).where(Chip.id.in_(chips))).tuples().all())
        for proxy_id, provider, address in db.execute(pool.where(Proxy.id.in_(proxies))):
            named[proxy_id] = f"{provider} {urlsplit(address).hostname}"
    return named
