"""What a gateway needs to know of a chip before it lets it out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Row, select

from whago.domain.models import Assignment, Chip, Provider, Proxy, User
from whago.domain.rules.dialect import CountryCase, Login, build_login
from whago.kit.crypto import Vault
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class Exit:
    """A chip's way out: its assignment, the price in force and the upstream with its login."""

    user_id: UUID
    assignment_id: UUID
    proxy_id: UUID
    provider_id: UUID
    price_id: int
    protocol: Literal["http", "socks5"]
    host: str
    port: int
    login: Login = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChipAtGate:
    """``exit`` is None when the chip may not leave now, and ``reason`` says why."""

    token_hash: bytes = field(repr=False)
    exit: Exit | None
    reason: str | None


def chip_at_gate(chip_id: UUID, vault: Vault) -> ChipAtGate | None:
    """None when there is no such chip. Never asks about quota: that is the lease's business."""
    query = (
        select(Chip, User.is_active, Assignment, Proxy, Provider)
        .join(User, User.id == Chip.user_id)
        .outerjoin(Assignment, (Assignment.chip_id == Chip.id) & Assignment.released_at.is_(None))
        .outerjoin(Proxy, Proxy.id == Assignment.proxy_id)
        .outerjoin(Provider, Provider.id == Proxy.provider_id)
        .where(Chip.id == chip_id, Chip.deleted_at.is_(None))
    )
    with reading() as db:
        row = db.execute(query).one_or_none()
        if row is None:
            return None
        reason = _why_not(row)
        chip: Chip = row[0]
        if reason is not None:
            return ChipAtGate(chip.gateway_token_hash, None, reason)
        return ChipAtGate(chip.gateway_token_hash, _exit(row, vault), None)


def _why_not(row: Row[Chip, bool, Assignment, Proxy, Provider]) -> str | None:
    _chip, owner_is_active, assignment, proxy, provider = row
    if not owner_is_active:
        return "chip_blocked"
    if assignment is None or not proxy.is_active or not provider.is_active:
        return "no_healthy_proxy"
    return "exit_ip_changed" if assignment.paused_at is not None else None


def _exit(row: Row[Chip, bool, Assignment, Proxy, Provider], vault: Vault) -> Exit:
    chip, _owner_is_active, assignment, proxy, provider = row
    address = urlsplit(proxy.proxy_url)
    return Exit(
        user_id=chip.user_id,
        assignment_id=assignment.id,
        proxy_id=proxy.id,
        provider_id=provider.id,
        price_id=provider.current_price_id or 0,
        protocol=cast("Literal['http', 'socks5']", address.scheme),
        host=address.hostname or "",
        port=address.port or 0,
        login=upstream_login(provider, proxy, assignment.session_token, vault),
    )


def upstream_login(provider: Provider, proxy: Proxy | None, token: str, vault: Vault) -> Login:
    """The provider's dialect for a sticky token; a proxy of a list with its own login is told just that."""
    own = vault.open(proxy.credentials) if proxy is not None else {}
    if own:
        return Login(own.get("username", ""), own.get("password", ""))
    return build_login(
        username_template=provider.username_template,
        password_template=provider.password_template,
        credentials=vault.open(provider.credentials),
        token=token,
        country=provider.country,
        region=(proxy.region if proxy is not None else None) or provider.region,
        lifetime_min=provider.lifetime_min,
        country_form=cast("CountryCase", provider.country_form),
    )
