"""Providers: created, changed and removed by administrators. Credentials go in sealed and never come out here."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Select, exists, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from whago.domain.models import Provider, ProviderPrice, Proxy
from whago.domain.models.assigning import ASSIGNING, chips_on
from whago.domain.models.auditing import audit
from whago.domain.models.moving import move_or_wait
from whago.domain.rules.dialect import UnknownPlaceholder, check_template
from whago.domain.rules.selection import USUAL_WEIGHT
from whago.domain.rules.upstream_urls import proxy_url
from whago.errors import InvalidInput, WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import locked, signal, transaction
from whago.kit.ids import new_id


@dataclass(frozen=True, slots=True)
class ProviderFields:
    """A whole provider, with what its preset knows already filled in. ``credentials`` None keeps the stored ones.

    ``cost_per_gb`` is money of ``currency`` per ``bytes_per_gb`` bytes. Lower ``priority`` is asked first; those of the
    same share chips by ``weight``. ``is_draining``: no new chips, and those on it move away little by little.
    """

    name: str
    provider_type: str
    preset: str
    protocol: str
    host: str | None
    port: int | None
    username_template: str
    password_template: str
    country: str | None
    region: str | None
    cost_per_gb: Decimal
    currency: str
    bytes_per_gb: int
    priority: int
    is_active: bool
    lifetime_min: int
    ip_check_url: str | None
    credentials: dict[str, str] | None = field(default=None, repr=False)
    is_demo: bool = False
    country_form: str = "lower"
    exit_ip_policy: str = "alert"
    exit_ip_every_min: int = 60
    weight: int = USUAL_WEIGHT
    is_draining: bool = False


PRICE_FIELDS = ("cost_per_gb", "bytes_per_gb", "currency")


def create_provider(actor_id: UUID | None, wanted: ProviderFields, *, vault: Vault, now: datetime) -> UUID:
    """Raises WhagoError: name_taken, unknown_placeholder; InvalidInput."""
    _check(wanted)
    with transaction() as db:
        provider = Provider(id=new_id(), created_at=now, updated_at=now, **_columns(wanted))
        provider.credentials = vault.seal(wanted.credentials or {})
        _flush_named(db, provider)
        _new_price(db, provider, now)
        audit(db, actor_id, "provider.create", "provider", provider.id, now, name=provider.name)
        signal(db, "provider", provider.id)
        return provider.id


def update_provider(
    actor_id: UUID | None,
    provider_id: UUID,
    wanted: ProviderFields,
    *,
    vault: Vault,
    now: datetime,
    answer_to: UUID | None = None,
) -> None:
    """Replaces everything but omitted credentials. A new price counts from this moment on: at each gateway from when it
    follows, which it tells under the token ``answer_to``.

    Proxies that were at the provider's own address follow it to a new one.
    Raises WhagoError: not_found, name_taken, unknown_placeholder; InvalidInput.
    """
    _check(wanted)
    with transaction() as db:
        provider = _locked(db, provider_id)
        _check_sticky(db, provider_id, wanted)
        _let_proxies_follow(db, provider, wanted, now)
        changed = [name for name, value in _columns(wanted).items() if getattr(provider, name) != value]
        for name in changed:
            setattr(provider, name, getattr(wanted, name))
        if wanted.credentials:
            known = vault.open(provider.credentials)
            provider.credentials = vault.seal(known | wanted.credentials)
            changed.append("credentials")
            provider.trouble = provider.trouble_since = None  # the next attempt tells whether it was that
        provider.updated_at = now
        _flush_named(db, provider)
        if any(name in changed for name in PRICE_FIELDS):
            _new_price(db, provider, now)
        audit(db, actor_id, "provider.update", "provider", provider_id, now, changed=changed)
        signal(db, "provider", provider_id, answer_to=answer_to)


def delete_provider(actor_id: UUID | None, provider_id: UUID, *, force: bool, now: datetime) -> int:
    """Removes a provider and its proxies; with ``force`` its chips move to other providers first (or wait for one).

    Returns how many chips were moved. Raises WhagoError: not_found, provider_in_use (details name the chips).
    """
    with transaction() as db:
        locked(db, ASSIGNING)
        provider = _locked(db, provider_id)
        chips = chips_on(db, provider_id=provider_id)
        if chips and not force:
            raise WhagoError("provider_in_use", count=len(chips), chips=[_named(chip) for chip in chips[:50]])
        provider.is_active, provider.deleted_at, provider.updated_at = False, now, now
        for proxy in db.scalars(_living_proxies(provider_id)):
            proxy.is_active, proxy.deleted_at, proxy.updated_at = False, now, now
        db.flush()
        for chip in chips:
            move_or_wait(db, chip, reason="provider_deleted", now=now)
        audit(db, actor_id, "provider.delete", "provider", provider_id, now, name=provider.name, moved=len(chips))
        signal(db, "provider", provider_id)
        return len(chips)


def _columns(wanted: ProviderFields) -> dict[str, Any]:
    return {f.name: getattr(wanted, f.name) for f in fields(wanted) if f.name != "credentials"}


def _check(wanted: ProviderFields) -> None:
    for name in ("username_template", "password_template"):
        try:
            check_template(getattr(wanted, name))
        except UnknownPlaceholder as error:
            raise WhagoError("unknown_placeholder", placeholder=error.args[0], field=name) from error
        except ValueError as error:
            raise InvalidInput(**{name: "The braces of the template do not match."}) from error


def _check_sticky(db: Session, provider_id: UUID, wanted: ProviderFields) -> None:
    """Chips on a rotating proxy are told apart by their session alone."""
    if "{session}" in wanted.username_template + wanted.password_template:
        return
    rotating = (Proxy.provider_id == provider_id, Proxy.proxy_type == "rotating", Proxy.deleted_at.is_(None))
    if db.scalar(select(exists().where(*rotating))):
        raise InvalidInput(
            username_template="Chips would share an IP: this provider has rotating proxies, so a template needs"
            " {session}."
        )


def _let_proxies_follow(db: Session, provider: Provider, wanted: ProviderFields, now: datetime) -> None:
    """A proxy with a login of its own is another party's, even at the same address, and stays."""
    before, after = _address(provider), _address(wanted)
    if after is None or before in (None, after):
        return
    for proxy in db.scalars(_living_proxies(provider.id).where(Proxy.proxy_url == before)):
        if not proxy.credentials:
            proxy.proxy_url, proxy.updated_at = after, now
            proxy.start_afresh()


def _address(provider: Provider | ProviderFields) -> str | None:
    if provider.host is None or provider.port is None:
        return None
    return proxy_url(provider.protocol, provider.host, provider.port)


def _locked(db: Session, provider_id: UUID) -> Provider:
    provider = db.scalars(
        select(Provider).where(Provider.id == provider_id, Provider.deleted_at.is_(None)).with_for_update()
    ).one_or_none()
    if provider is None:
        raise WhagoError("not_found")
    return provider


def _living_proxies(provider_id: UUID) -> Select[Proxy]:
    """Locked in the order in which usage reports lock them."""
    living = select(Proxy).where(Proxy.provider_id == provider_id, Proxy.deleted_at.is_(None))
    return living.order_by(Proxy.id).with_for_update()


def _flush_named(db: Session, provider: Provider) -> None:
    try:
        with db.begin_nested():
            db.add(provider)
    except IntegrityError as error:
        if "uq_proxy_providers_name" not in str(error.orig):
            raise
        raise WhagoError("name_taken") from error


def _new_price(db: Session, provider: Provider, now: datetime) -> None:
    price = ProviderPrice(
        provider_id=provider.id,
        cost_per_gb=provider.cost_per_gb,
        bytes_per_gb=provider.bytes_per_gb,
        currency=provider.currency,
        effective_from=now,
    )
    db.add(price)
    db.flush()
    provider.current_price_id = price.id


def _named(chip: Any) -> dict[str, str]:
    return {"id": str(chip.id), "alias": chip.alias}
