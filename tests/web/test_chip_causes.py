"""A chip's page says in plain words why it is not connected."""

from __future__ import annotations

from html import unescape
from typing import Literal

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from tests.e2e.seeding import make_account, ready_pool
from tests.factories import make_chip
from tests.web.page_setup import visitor
from whago.domain.actions.chips import set_chip_status
from whago.domain.models import ChipStatus, Engine, Provider
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction

TITLES = {
    ("pt-BR", False): "O proxy funciona, mas não alcança o WhatsApp.",
    ("pt-BR", True): "O WhatsApp não pode ser alcançado pela rede desta máquina.",
    ("en", False): "The proxy works, but cannot reach WhatsApp.",
    ("en", True): "WhatsApp cannot be reached from this machine's network.",
}
EVENT = {"pt-BR": "o proxy não alcança o WhatsApp", "en": "the proxy cannot reach WhatsApp"}


@pytest.mark.parametrize("language", ["pt-BR", "en"])
@pytest.mark.parametrize("is_demo", [False, True], ids=["vendor", "demo"])
def test_whatsapp_out_of_the_proxy_s_reach(
    app: FastAPI, vault: Vault, language: Literal["pt-BR", "en"], is_demo: bool
) -> None:
    ready_pool(vault)
    customer = make_account("enterprise", language=language)
    chip = make_chip(customer, engine=Engine.BRIDGE, now=clock.now())
    with transaction() as db:
        db.execute(update(Provider).values(is_demo=is_demo))
    set_chip_status(chip.chip_id, ChipStatus.CONNECTING, now=clock.now(), reason="target_unreachable")
    html = unescape(visitor(app, customer).get(f"/chips/{chip.chip_id}").text)
    told = {key for key, title in TITLES.items() if title in html}
    assert told == {(language, is_demo)}
    assert EVENT[language] in html
