"""How to try a provider or a proxy by hand: its address and a login with a sticky token of nobody's."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import Provider, Proxy
from whago.domain.queries.passes import upstream_login
from whago.domain.rules.dialect import Login
from whago.domain.rules.sticky import provider_token
from whago.errors import InvalidInput, WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class Trial:
    """What a probe dials. ``ip_check_url`` None: the product's default page."""

    protocol: Literal["http", "socks5"]
    host: str
    port: int
    login: Login = field(repr=False)
    ip_check_url: str | None = None


def trial_of_proxy(proxy_id: UUID, vault: Vault) -> Trial:
    """Raises WhagoError("not_found"), InvalidInput when the login cannot be made."""
    query = (
        select(Proxy, Provider)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(Proxy.id == proxy_id, Proxy.deleted_at.is_(None))
    )
    with reading() as db:
        row = db.execute(query).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    proxy, provider = row
    return _trial(provider, proxy, vault)


def trial_of_provider(provider_id: UUID, vault: Vault) -> Trial:
    """Its own address, or for a list its first active proxy. Raises WhagoError("not_found"), InvalidInput."""
    query = select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None))
    first = (
        select(Proxy)
        .where(Proxy.provider_id == provider_id, Proxy.deleted_at.is_(None), Proxy.is_active)
        .order_by(Proxy.created_at, Proxy.id)
        .limit(1)
    )
    with reading() as db:
        provider = db.scalars(query).one_or_none()
        proxy = db.scalars(first).one_or_none()
    if provider is None:
        raise WhagoError("not_found")
    if provider.host is None and proxy is None:
        raise InvalidInput(host="This provider has neither an address nor a proxy to test.")
    return _trial(provider, proxy if provider.host is None else None, vault)


def _trial(provider: Provider, proxy: Proxy | None, vault: Vault) -> Trial:
    token = provider_token(f"trial-{proxy.id if proxy is not None else provider.id}")
    try:
        login = upstream_login(provider, proxy, token, vault)
    except ValueError as error:
        raise InvalidInput(username_template="The username that it makes is too long.") from error
    protocol, host, port = provider.protocol, provider.host or "", provider.port or 0
    if proxy is not None:
        address = urlsplit(proxy.proxy_url)
        protocol, host, port = address.scheme, address.hostname or "", address.port or 0
    return Trial(cast("Literal['http', 'socks5']", protocol), host, port, login, provider.ip_check_url)
