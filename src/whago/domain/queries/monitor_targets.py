"""What the clocks have to look at: how an upstream is dialled, and chips that wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import Chip, ChipStatus, Provider, Proxy
from whago.domain.queries.passes import upstream_login
from whago.domain.rules.dialect import Login
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where to dial and as whom. ``subject`` is the proxy or the assignment that it is about."""

    subject: UUID
    provider_id: UUID
    protocol: Literal["http", "socks5"]
    host: str
    port: int
    login: Login = field(repr=False)
    ip_check_url: str | None


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


def upstream_of(vault: Vault, subject: UUID, provider: Provider, proxy: Proxy, token: str) -> Upstream | None:
    """None when its login cannot be made: sealed under a key that is gone, or too long."""
    address = urlsplit(proxy.proxy_url)
    try:
        login = upstream_login(provider, proxy, token, vault)
    except (WhagoError, ValueError):
        return None
    return Upstream(
        subject=subject,
        provider_id=provider.id,
        protocol=cast("Literal['http', 'socks5']", address.scheme),
        host=address.hostname or "",
        port=address.port or 0,
        login=login,
        ip_check_url=provider.ip_check_url,
    )
