"""Administration in a real browser: every dialog, against the real database and a simulated vendor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, make_account, make_admin, new_chip, ready_pool, settle
from tests.factories import make_provider, make_proxy
from whago.domain.models import ChipStatus, Provider, User
from whago.kit.crypto import Vault
from whago.kit.db import reading
from whago.simulator import SimulatedProvider

pytestmark = pytest.mark.browser


@pytest.fixture
def admin(live: LiveServer) -> User:
    return make_admin()


@pytest.fixture(scope="module")
def vendor() -> Iterator[SimulatedProvider]:
    with SimulatedProvider(statics=1) as running:
        yield running


def test_a_provider_is_added_tested_changed_and_removed(
    visits: Visits, admin: User, vendor: SimulatedProvider, vault: Vault
) -> None:
    page = visits.signed_in(admin, "/admin/proxies")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Adicionar provedor").first.click()
    expect(dialog.get_by_label("Host")).to_have_value("proxy.smartproxy.net")
    dialog.get_by_label("Fornecedor", exact=True).select_option("decodo")
    expect(dialog.get_by_label("Host")).to_have_value("gate.decodo.com")
    expect(dialog.get_by_label("Porta")).to_have_value("7000")
    dialog.get_by_label("Fornecedor", exact=True).select_option("smartproxy")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog.get_by_label("Nome", exact=True)).to_be_focused()  # a name is needed

    dialog.get_by_label("Nome", exact=True).fill("Smartproxy <b>BR</b>")
    dialog.get_by_label("Host").fill(vendor.host)
    dialog.get_by_label("Porta").fill(str(vendor.port))
    dialog.get_by_label("Usuário no fornecedor").fill("demo")
    dialog.get_by_label("Senha no fornecedor").fill("demo-password")
    dialog.get_by_label("Preço por GB").fill("1.025,50")
    expect(dialog.locator("[data-preview]")).to_have_text("demo-session-48213907")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog).to_be_hidden()
    row = page.get_by_role("row", name="Smartproxy <b>BR</b>")
    expect(row).to_contain_text("R$\N{NO-BREAK SPACE}1.025,50")
    expect(page.locator("#dialog")).to_be_empty()
    assert "demo-password" not in page.content()

    row.get_by_role("button", name="Editar").click()
    expect(dialog.get_by_label("Usuário no fornecedor")).to_have_value("")
    dialog.get_by_label("Preço por GB").fill("18,4")
    dialog.get_by_label("Região").fill("BR")
    dialog.get_by_role("button", name="Salvar").click()
    expect(row).to_contain_text("R$\N{NO-BREAK SPACE}18,40")
    assert credentials_of("Smartproxy <b>BR</b>", vault)["password"] == "demo-password"

    row.get_by_role("button", name="Excluir").click()
    dialog.get_by_role("button", name="Excluir").click()
    expect(page.get_by_text("Nenhum provedor ainda")).to_be_visible()


def test_a_test_tells_the_exit_ip_or_what_is_wrong(
    visits: Visits, admin: User, vendor: SimulatedProvider, vault: Vault
) -> None:
    known = {"host": vendor.host, "port": vendor.port, "ip_check_url": "http://ip.simulated.test/json"}
    works = make_provider(vault, name="Que funciona", **known)
    make_proxy(works)
    make_provider(vault, name="Que recusa", credentials={"username": "demo", "password": "wrong"}, **known)
    page = visits.signed_in(admin, "/admin/proxies")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Testar Que funciona").click()
    expect(dialog.get_by_text("Funciona.", exact=True)).to_be_visible()
    expect(dialog).to_contain_text("127.")
    expect(dialog).to_contain_text("ms")
    dialog.get_by_role("button", name="Fechar").click()
    page.get_by_role("button", name="Testar Que recusa").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Não funciona.")
    expect(dialog.get_by_role("alert").locator("[data-fill]")).not_to_be_empty()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Pool de Proxies").click()
    page.get_by_role("button", name="Testar http").click()
    expect(dialog.get_by_text("Funciona.", exact=True)).to_be_visible()


def test_a_proxy_is_added_changed_and_removed(visits: Visits, admin: User, vault: Vault) -> None:
    make_provider(vault, name="Smartproxy Brasil", host="proxy.example.com")
    page = visits.signed_in(admin, "/admin/proxies?tab=pool")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Adicionar proxy").first.click()
    dialog.get_by_label("Vagas para chips").fill("0")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog.get_by_label("Vagas para chips")).to_be_focused()
    dialog.get_by_label("Vagas para chips").fill("40")
    dialog.get_by_label("Região").fill("BR-SP")
    dialog.get_by_role("button", name="Salvar").click()
    row = page.get_by_role("row", name="proxy.example.com")
    for text in ("Rotativo", "BR-SP", "0 / 40", "Ativo"):
        expect(row).to_contain_text(text)

    row.get_by_role("button", name="Editar").click()
    dialog.get_by_label("Vagas para chips").fill("")
    dialog.get_by_role("checkbox").uncheck()
    dialog.get_by_role("button", name="Salvar").click()
    expect(row).to_contain_text("Desligado")
    expect(row).not_to_contain_text("/ 40")

    row.get_by_role("button", name="Excluir").click()
    dialog.get_by_role("button", name="Excluir").click()
    expect(page.get_by_text("O pool está vazio")).to_be_visible()


def test_a_pasted_list_tells_the_lines_that_could_not_be_read(visits: Visits, admin: User, vault: Vault) -> None:
    make_provider(vault, name="IPs fixos", preset="static", host=None, port=None, username_template="{username}")
    page = visits.signed_in(admin, "/admin/proxies?tab=pool")
    page.get_by_role("button", name="Colar uma lista").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Proxies estáticos, um por linha").fill(
        "203.0.113.7:8080:user:secret-of-the-list\nthis is no proxy\n203.0.113.8:8080"
    )
    dialog.get_by_role("button", name="Adicionar ao pool").click()
    expect(dialog.get_by_role("status")).to_contain_text("2")
    expect(dialog.get_by_role("listitem")).to_contain_text("2:")
    dialog.get_by_role("button", name="Fechar").click()
    expect(page.get_by_role("row", name="203.0.113.7")).to_contain_text("Estático")
    expect(page.locator("#dialog")).to_be_empty()
    assert "secret-of-the-list" not in page.content()


@pytest.mark.parametrize("what", ["provider", "proxy"])
def test_what_is_in_use_names_its_chips_and_can_be_forced(visits: Visits, admin: User, vault: Vault, what: str) -> None:
    ready_pool(vault, name="Em uso")
    customer = make_account("business")
    chips = [new_chip(customer, f"Suporte {number}") for number in (1, 2)]
    page = visits.signed_in(admin, "/admin/proxies" if what == "provider" else "/admin/proxies?tab=pool")
    page.get_by_role("row", name="Em uso").get_by_role("button", name="Excluir").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Excluir").click()
    alert = dialog.get_by_role("alert")
    expect(alert.get_by_role("listitem")).to_have_text(["Suporte 1", "Suporte 2"])
    dialog.get_by_role("button", name="Mover os chips e excluir").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("row", name="Em uso")).to_have_count(0)
    chip_page = visits.signed_in(customer, f"/chips/{chips[0].chip_id}")
    expect(chip_page.get_by_text("Este chip espera um proxy.")).to_be_visible()


def test_statistics_are_those_of_the_database(visits: Visits, admin: User, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account("business", name="João Pereira")
    chip = new_chip(customer, "Suporte")
    meter = Meter.start()
    meter.move(chip.chip_id, 400_000_000)
    page = visits.signed_in(admin, "/admin/proxies?tab=stats")
    figure = page.locator(".figure", has_text="Uso neste mês")
    expect(figure).to_contain_text("400 MB")
    expect(page.locator(".figure", has_text="Custo neste mês")).to_contain_text("R$\N{NO-BREAK SPACE}10,00")
    expect(page.get_by_role("row", name="João Pereira")).to_contain_text("40%")
    meter.move(chip.chip_id, 600_000_000)
    expect(figure).to_contain_text("1 GB")
    expect(page.locator(".figure", has_text="Clientes no limite")).to_contain_text("1")
    for split, name in (("Por cliente", "João Pereira"), ("Por provedor", "Smartproxy Brasil")):
        page.get_by_role("button", name=split).click()
        expect(page.get_by_role("button", name=split)).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#series .legend")).to_have_text(name)
        expect(page.locator("#usage-days tbody tr").first).to_contain_text("1 GB")


def test_raising_a_plans_limit_frees_its_customer(visits: Visits, admin: User, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account("free")
    Meter.start().move(new_chip(customer, "Suporte").chip_id, 100_000_000)
    theirs = visits.signed_in(customer)
    expect(theirs.get_by_text("Você atingiu o limite do mês.")).to_be_visible()

    page = visits.signed_in(admin, "/admin/plans")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Editar Free").click()
    limit = dialog.get_by_label("GB por mês")
    expect(limit).to_have_value("0,1")
    limit.fill("-1")
    dialog.get_by_role("button", name="Salvar").click()
    expect(limit).to_be_focused()
    limit.fill("0,25")
    dialog.get_by_role("button", name="Salvar").click()
    expect(page.get_by_role("row", name="Free")).to_contain_text("0,25\N{NO-BREAK SPACE}GB")
    expect(theirs.get_by_text("Você atingiu o limite do mês.")).to_be_hidden()
    expect(theirs.locator("[data-percent]")).to_have_text("40%")

    page.get_by_role("button", name="Editar Free").click()
    dialog.get_by_label("GB por mês").fill("")
    dialog.get_by_role("button", name="Salvar").click()
    expect(page.get_by_role("row", name="Free")).to_contain_text("Ilimitado")
    expect(theirs.get_by_text("sem limite")).to_be_visible()


def test_a_plan_is_added_and_removed(visits: Visits, admin: User) -> None:
    page = visits.signed_in(admin, "/admin/plans")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Adicionar plano").click()
    dialog.get_by_label("Nome", exact=True).fill("Agência")
    dialog.get_by_label("Nome curto").fill("Agência!")
    dialog.get_by_label("GB por mês").fill("12,5")
    dialog.get_by_role("textbox", name="Chips").fill("25")
    dialog.get_by_label("Preço por mês").fill("1.497,00")
    dialog.get_by_text("Continuar e cobrar").click()
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog.locator("#f-slug-error")).not_to_be_empty()
    dialog.get_by_label("Nome curto").fill("agencia")
    dialog.get_by_role("button", name="Salvar").click()
    row = page.get_by_role("row", name="Agência")
    for text in ("12,5\N{NO-BREAK SPACE}GB", "25", "R$\N{NO-BREAK SPACE}1.497,00", "Continuar e cobrar"):
        expect(row).to_contain_text(text)
    row.get_by_role("button", name="Excluir").click()
    dialog.get_by_role("button", name="Excluir").click()
    expect(row).to_have_count(0)


def test_customers_are_shown_with_the_proxy_of_each_chip(visits: Visits, admin: User, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account("business", name="Maria Duarte", email="maria@example.com")
    settle(new_chip(customer, "Suporte").chip_id, ChipStatus.CONNECTED, exit_ip="187.19.204.31")
    page = visits.signed_in(admin, "/admin/users")
    card = page.locator("section.card", has_text="Maria Duarte")
    for text in ("Suporte", "Conectado", "Smartproxy Brasil", "187.19.204.31", "Business"):
        expect(card).to_contain_text(text)

    card.get_by_role("button", name="Mudar plano de Maria Duarte").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Plano").select_option(label="Enterprise")
    dialog.get_by_role("button", name="Salvar").click()
    expect(card).to_contain_text("Enterprise")

    card.get_by_role("button", name="Suspender Maria Duarte").click()
    dialog.get_by_role("button", name="Suspender").click()
    expect(card).to_contain_text("Suspenso")
    card.get_by_role("button", name="Reativar Maria Duarte").click()
    dialog.get_by_role("button", name="Reativar").click()
    expect(card).not_to_contain_text("Suspenso")


def test_a_customer_is_added_and_found(visits: Visits, admin: User) -> None:
    page = visits.signed_in(admin, "/admin/users")
    page.get_by_role("button", name="Adicionar cliente").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Nome", exact=True).fill("Luísa Andrade")
    dialog.get_by_label("E-mail").fill("luisa@example.com")
    dialog.get_by_label("Primeira senha").fill("correct horse battery")
    dialog.get_by_label("Plano").select_option(label="Enterprise")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog).to_be_hidden()
    card = page.locator("section.card", has_text="Luísa Andrade")
    expect(card).to_contain_text("Enterprise")
    page.get_by_label("Buscar clientes").fill("luísa")
    expect(page.locator("section.card", has_text="Ana Ribeiro")).to_have_count(0)
    expect(card).to_be_visible()


def test_a_failed_action_can_be_tried_again(visits: Visits, admin: User, live: LiveServer) -> None:
    page = visits.signed_in(admin, "/admin/plans")
    page.get_by_role("button", name="Editar Business").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("GB por mês").fill("2")
    live.stop()
    try:
        dialog.get_by_role("button", name="Salvar").click()
        expect(dialog.get_by_role("alert")).to_contain_text("O servidor não respondeu")
        expect(dialog.get_by_label("GB por mês")).to_have_value("2")
    finally:
        live.start()
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("row", name="Business")).to_contain_text("2\N{NO-BREAK SPACE}GB")


def test_a_customer_has_no_way_in(visits: Visits) -> None:
    page: Page = visits.signed_in(make_account("business"), "/admin/proxies")
    expect(page.get_by_role("heading")).to_have_text("Esta conta não tem acesso")
    page.goto("/dashboard")
    expect(page.get_by_role("link", name="Proxies")).to_have_count(0)


def credentials_of(name: str, vault: Vault) -> dict[str, str]:
    with reading() as db:
        stored = db.scalars(select(Provider.credentials).where(Provider.name == name)).one()
    return vault.open(stored)
