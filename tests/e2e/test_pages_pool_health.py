"""Why a proxy has its score, and the way into and out of draining, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import make_admin
from tests.factories import make_provider, make_proxy
from whago.domain.actions.pool_health import Attempt, record_probe
from whago.domain.models import Provider, User
from whago.domain.rules.health import Blame
from whago.kit import clock
from whago.kit.crypto import Vault

pytestmark = pytest.mark.browser

DEAD = Attempt(success=False, error="No exit.", diagnosis="no_exit", speaks_against=Blame.PROXY)


@pytest.fixture
def admin(live: LiveServer) -> User:
    return make_admin()


@pytest.fixture
def provider(live: LiveServer, vault: Vault) -> Provider:
    """With one proxy that is out and one that is well."""
    made = make_provider(vault, name="Smartproxy BR")
    dead = make_proxy(made, proxy_url="http://198.51.100.7:3120")
    make_proxy(made, proxy_url="http://198.51.100.8:3120")
    for _ in range(3):
        record_probe(dead.id, DEAD, now=clock.now())
    return made


def test_a_score_is_explained_term_by_term(visits: Visits, admin: User, provider: Provider) -> None:
    page = visits.signed_in(admin, "/admin/proxies?tab=pool")
    row = page.get_by_role("row", name="198.51.100.7")
    expect(row.get_by_text("Fora", exact=True)).to_be_visible()
    row.get_by_role("button", name="Por que 40 pontos?").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Fora do pool")).to_be_visible()
    expect(dialog.get_by_text("3 de 3 tentativas recentes falharam")).to_be_visible()
    expect(dialog.get_by_role("row", name="Tentativas")).to_contain_text("-60")
    dialog.get_by_role("button", name="Fechar").last.click()
    expect(dialog).to_be_hidden()


def test_a_provider_and_a_proxy_are_drained_and_used_again(visits: Visits, admin: User, provider: Provider) -> None:
    page = visits.signed_in(admin, "/admin/proxies")
    dialog = page.get_by_role("dialog")
    for path, name in (("/admin/proxies", "Smartproxy BR"), ("/admin/proxies?tab=pool", "http://198.51.100.8:3120")):
        page.goto(path)
        row = page.get_by_role("row", name=name)
        row.get_by_role("button", name=f"Esvaziar {name}").click()
        dialog.get_by_role("button", name="Esvaziar").click()
        expect(dialog).to_be_hidden()
        expect(row.get_by_text("Esvaziando", exact=True)).to_be_visible()
        row.get_by_role("button", name=f"Voltar a usar {name}").click()
        dialog.get_by_role("button", name="Voltar a usar").click()
        expect(dialog).to_be_hidden()
        expect(row.get_by_text("Ativo", exact=True)).to_be_visible()
