"""Providers: sealed credentials, prices that never change afterwards, names that are unique."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from tests.actions.test_chips import at_once
from tests.factories import NOW, make_chip, make_proxy, make_user
from whago.domain.actions.providers import ProviderFields, create_provider, update_provider
from whago.domain.models import Provider, ProviderPrice
from whago.domain.queries.passes import chip_at_gate
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import transaction

pytestmark = pytest.mark.usefixtures("database")

WANTED = ProviderFields(
    name="Smartproxy",
    provider_type="residential",
    preset="smartproxy",
    protocol="http",
    host="proxy.smartproxy.net",
    port=3120,
    username_template="{username}-session-{session}",
    password_template="{password}",
    country="BR",
    region=None,
    cost_per_gb=Decimal(25),
    currency="BRL",
    bytes_per_gb=10**9,
    priority=100,
    is_active=True,
    lifetime_min=1440,
    ip_check_url=None,
    credentials={"username": "acme", "password": "p@ss:w/rd%"},
)


def stored(provider_id: UUID) -> Provider:
    with transaction() as db:
        return db.get_one(Provider, provider_id)


def prices(provider_id: UUID) -> list[Decimal]:
    with transaction() as db:
        query = select(ProviderPrice.cost_per_gb).where(ProviderPrice.provider_id == provider_id)
        return list(db.scalars(query.order_by(ProviderPrice.id)))


def test_credentials_are_sealed_in_the_database(vault: Vault) -> None:
    provider_id = create_provider(None, WANTED, vault=vault, now=NOW)
    with transaction() as db:
        row = str(db.execute(text("SELECT * FROM proxy_providers")).all())
    assert "acme" not in row
    assert "p@ss" not in row
    assert vault.open(stored(provider_id).credentials) == WANTED.credentials


def test_a_change_without_credentials_keeps_them_and_a_new_price_counts_from_now_on(vault: Vault) -> None:
    provider_id = create_provider(None, WANTED, vault=vault, now=NOW)
    same = dataclasses.replace(WANTED, credentials=None, priority=5)
    update_provider(None, provider_id, same, vault=vault, now=NOW)
    assert prices(provider_id) == [Decimal(25)]
    update_provider(None, provider_id, dataclasses.replace(same, cost_per_gb=Decimal(30)), vault=vault, now=NOW)
    assert prices(provider_id) == [Decimal(25), Decimal(30)]
    assert vault.open(stored(provider_id).credentials) == WANTED.credentials


def test_the_gateway_is_told_the_dialects_login(vault: Vault) -> None:
    create_provider(None, WANTED, vault=vault, now=NOW)
    with transaction() as db:
        make_proxy(db.scalars(select(Provider)).one())
    at_gate = chip_at_gate(make_chip(make_user("business")).chip_id, vault)
    assert at_gate is not None
    assert at_gate.exit is not None
    assert at_gate.exit.login.username.startswith("acme-session-")
    assert at_gate.exit.login.password == "p@ss:w/rd%"
    assert "p@ss" not in repr(at_gate)


def test_a_chip_nobody_knows_has_no_pass(vault: Vault) -> None:
    assert chip_at_gate(UUID(int=7), vault) is None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"username_template": "{username}-{chip}"}, "unknown_placeholder"),
        ({"username_template": "{username.__class__}"}, "unknown_placeholder"),
        ({"password_template": "{password"}, "invalid_input"),
    ],
)
def test_a_template_that_cannot_be_filled_is_refused(vault: Vault, fields: dict[str, Any], code: str) -> None:
    with pytest.raises(WhagoError) as refused:
        create_provider(None, dataclasses.replace(WANTED, **fields), vault=vault, now=NOW)
    assert refused.value.code == code


def test_the_same_name_twice_at_once_makes_one_provider(vault: Vault) -> None:
    outcomes = at_once(lambda _n: create_provider(None, WANTED, vault=vault, now=NOW), 6)
    assert outcomes == {"ok": 1, "name_taken": 5}
