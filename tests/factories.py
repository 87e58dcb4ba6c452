"""Small builders of real rows; each commits and returns what it made."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from whago.domain.actions.chips import CreatedChip, create_chip
from whago.domain.models import Engine, Plan, Provider, ProviderPrice, Proxy, User
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_id

NOW = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)
TZ = ZoneInfo("America/Sao_Paulo")
_numbers = itertools.count(1)


def make_plan(**fields: Any) -> Plan:
    number = next(_numbers)
    values = {
        "name": f"Plan {number}",
        "slug": f"plan-{number}",
        "price": Decimal(10),
        "max_chips": 100,
        "proxy_gb_limit": Decimal(1),
        "created_at": NOW,
        "updated_at": NOW,
    } | fields
    with transaction() as db:
        plan = Plan(**values)
        db.add(plan)
    return plan


def make_user(plan: Plan | str | None = None, **fields: Any) -> User:
    number = next(_numbers)
    with transaction() as db:
        if isinstance(plan, str):
            plan = db.scalars(select(Plan).where(Plan.slug == plan)).one()
        values = {
            "name": f"User {number}",
            "email": f"user{number}@example.com",
            "password_hash": "!",
            "plan_id": plan.id if plan is not None else None,
            "created_at": NOW,
        } | fields
        user = User(**values)
        db.add(user)
    return user


def make_provider(vault: Vault | None = None, **fields: Any) -> Provider:
    number = next(_numbers)
    values = {
        "id": new_id(),
        "name": f"Provider {number}",
        "provider_type": "residential",
        "preset": "custom",
        "protocol": "http",
        "host": "127.0.0.1",
        "port": 3120,
        "username_template": "{username}-session-{session}",
        "password_template": "{password}",
        "cost_per_gb": Decimal("25"),
        "created_at": NOW,
        "updated_at": NOW,
    } | fields
    if vault is not None:
        values["credentials"] = vault.seal(
            fields.get("credentials") or {"username": "demo", "password": "demo-password"}
        )
    with transaction() as db:
        provider = Provider(**values)
        db.add(provider)
        db.flush()
        price = ProviderPrice(
            provider_id=provider.id,
            cost_per_gb=provider.cost_per_gb,
            bytes_per_gb=values.get("bytes_per_gb", 10**9),
            currency="BRL",
            effective_from=NOW,
        )
        db.add(price)
        db.flush()
        provider.current_price_id = price.id
    return provider


def make_proxy(provider: Provider, **fields: Any) -> Proxy:
    values = {
        "provider_id": provider.id,
        "proxy_type": "rotating",
        "proxy_url": f"{provider.protocol}://{provider.host}:{provider.port}",
        "created_at": NOW,
        "updated_at": NOW,
    } | fields
    with transaction() as db:
        proxy = Proxy(**values)
        db.add(proxy)
    return proxy


def make_chip(user: User, alias: str | None = None, **fields: Any) -> CreatedChip:
    """Through the real action: needs a proxy with room."""
    return create_chip(
        user.id,
        alias=alias or f"chip {next(_numbers)}",
        engine=fields.get("engine", Engine.EXTERNAL),
        region=fields.get("region"),
        now=fields.get("now", NOW),
        tz=TZ,
    )


def make_ready_pool(vault: Vault | None = None) -> tuple[Provider, Proxy]:
    provider = make_provider(vault)
    return provider, make_proxy(provider)
