"""A price counts from the answer to its change on, not a moment later."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import select

from tests.factories import make_user
from tests.spine.conftest import Stack, ledger_of, month_of, wait_equal
from tests.spine.wire import connect
from whago.domain.actions.providers import update_provider
from whago.domain.models import Provider
from whago.domain.queries.gateways import living_boots
from whago.domain.queries.proxies import get_provider
from whago.kit import clock
from whago.kit.answers import Answers
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.web.api.providers import ProviderBody, fields_of

HOST = "media.whatsapp.net"


def set_price(vault: Vault, price: str) -> set[object]:
    """As PUT does; returns the gateways that did not answer."""
    with transaction() as db:
        provider_id = db.scalars(select(Provider.id)).one()
    wanted = fields_of(ProviderBody(cost_per_gb=Decimal(price)), get_provider(vault, provider_id), allow_private=True)
    with Answers() as answers:
        update_provider(None, provider_id, wanted, vault=vault, now=clock.now(), answer_to=answers.token)
        return set(answers.wait(living_boots(now=clock.now()), 10))


def test_every_byte_after_the_answer_has_the_new_price(stack: Stack, vault: Vault) -> None:
    user = make_user("enterprise")
    ports = [stack.gateway().port, stack.gateway().port]
    chips = [stack.chip(user) for _ in ports]
    tunnels = [connect(port, chip.chip_id, chip.gateway_token, HOST) for port, chip in zip(ports, chips, strict=True)]
    for number, price in enumerate(("31.00", "17.50", "40.01")):
        moved = stack.relay.total
        assert set_price(vault, price) == set()
        for tunnel in tunnels:
            tunnel.get(f"/bytes/{1000 + number}")
        wait_equal(lambda: month_of(user.id).total_bytes, lambda: stack.relay.total)
        billed = sum(row.bytes_transferred for row in ledger_of(user.id) if row.cost_per_gb == Decimal(price))
        assert billed == stack.relay.total - moved
    for tunnel in tunnels:
        tunnel.sock.close()
    assert month_of(user.id).total_cost == sum(
        row.bytes_transferred * row.cost_per_gb / 10**9 for row in ledger_of(user.id)
    )
