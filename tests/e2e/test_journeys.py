"""What a newcomer does with ``whago up --demo``, from the menu, without reading anything: on the whole product."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.e2e.conftest import PATIENCE_MS, Complaints
from tests.e2e.demo_stack import DemoStack, chat

pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

ADMIN = "admin@whago.local"
CENTRAL = "central@demo.whago.local"
CUSTOMER = "luisa@example.com"
PASSWORD = "uma senha bem comprida"
NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoStack]:
    stack = DemoStack()
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def page(browser: Browser, demo: DemoStack) -> Iterator[Page]:
    """A browser that has never been here; in the end it may not have complained."""
    context = browser.new_context(base_url=demo.url, locale="pt-BR", timezone_id="America/Sao_Paulo")
    context.set_default_timeout(PATIENCE_MS)
    complaints, page = Complaints(), context.new_page()
    complaints.watch(page, demo.url)
    yield page
    context.close()
    assert complaints.of == []


def sign_in(page: Page, email: str, password: str) -> None:
    page.goto("/")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Senha", exact=True).fill(password)
    page.get_by_role("button", name="Entrar").click()
    expect(page.get_by_role("navigation", name="Principal")).to_be_visible()


def menu(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def save(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Salvar").click()
    expect(page.get_by_role("dialog")).to_be_hidden()


def megabytes(used: Locator) -> float:
    """What the widget shows, whatever its unit."""
    found = re.match(r"([\d.,]+)\s(\w+)", used.inner_text())
    assert found
    return float(found[1].replace(".", "").replace(",", ".")) * {"B": 1e-6, "KB": 1e-3, "MB": 1, "GB": 1e3}[found[2]]


def test_an_administrator_sees_at_once_who_is_near_the_limit(page: Page, demo: DemoStack) -> None:
    sign_in(page, ADMIN, demo.password_of(ADMIN))
    near = page.locator("section.card", has_text="Quem está perto do limite")
    expect(near.get_by_role("listitem").filter(has_text="Padaria Pão Dourado")).to_contain_text("Bloqueado")
    expect(near.get_by_role("listitem").filter(has_text="Clínica Sorriso Vivo")).to_contain_text(
        re.compile(r"8\d(,\d)?%")
    )
    expect(near).not_to_contain_text("Central de Atendimento")
    expect(page.locator("[data-rate]")).to_contain_text("/s")  # the demo's traffic, measured


def test_an_administrator_adds_a_smartproxy_provider_and_tests_it(page: Page, demo: DemoStack) -> None:
    sign_in(page, ADMIN, demo.password_of(ADMIN))
    menu(page, "Proxies")
    address = page.get_by_role("row", name="Smartproxy (simulado)").locator(".mono").first.inner_text()
    host, _, port = address.partition(":")
    page.get_by_role("button", name="Adicionar provedor").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Nome", exact=True).fill("Minha Smartproxy")
    dialog.get_by_label("Host").fill(host)
    dialog.get_by_label("Porta").fill(port)
    dialog.get_by_label("Usuário no fornecedor").fill("demo")
    dialog.get_by_label("Senha no fornecedor").fill("demo-password")
    dialog.get_by_label("Preço por GB").fill("22,50")
    save(page)
    row = page.get_by_role("row", name="Minha Smartproxy")
    expect(row).to_contain_text(f"R${NBSP}22,50")
    row.get_by_role("button", name="Testar Minha Smartproxy").click()
    expect(dialog.get_by_text("Funciona.", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Fechar").click()


def test_an_administrator_adds_a_proxy(page: Page, demo: DemoStack) -> None:
    sign_in(page, ADMIN, demo.password_of(ADMIN))
    menu(page, "Proxies")
    page.get_by_role("link", name="Pool de Proxies").click()
    page.get_by_role("button", name="Adicionar proxy").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Provedor").select_option(label="Smartproxy (simulado)")
    dialog.get_by_label("Região").fill("BR-RJ")
    dialog.get_by_label("Vagas para chips").fill("25")
    save(page)
    expect(page.get_by_role("row", name="BR-RJ")).to_contain_text("0 / 25")


def test_an_administrator_raises_a_plans_limit_and_frees_its_customer(page: Page, demo: DemoStack) -> None:
    sign_in(page, ADMIN, demo.password_of(ADMIN))
    menu(page, "Planos")
    page.get_by_role("button", name="Editar Free").click()
    page.get_by_role("dialog").get_by_label("GB por mês").fill("0,4")
    save(page)
    expect(page.get_by_role("row", name="Free")).to_contain_text(f"0,4{NBSP}GB")
    menu(page, "Visão geral")
    expect(page.get_by_role("heading", name="Quem está perto do limite")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Padaria Pão Dourado")).to_have_count(0)


def test_the_chip_on_our_bridge_is_as_far_as_this_machine_s_network_lets_it(page: Page, demo: DemoStack) -> None:
    """A QR code where WhatsApp can be reached, else the reason in plain words."""
    sign_in(page, CENTRAL, demo.password_of(CENTRAL))
    menu(page, "Chips")
    page.get_by_role("link", name="WhatsApp de verdade").click()
    chip = page.locator("#chip")
    expect(chip.locator("#qr svg, .notice").first).to_be_visible()


def test_a_new_customer_creates_a_chip_and_watches_its_usage_move(page: Page, demo: DemoStack) -> None:
    sign_in(page, ADMIN, demo.password_of(ADMIN))
    menu(page, "Clientes")
    page.get_by_role("button", name="Adicionar cliente").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Nome", exact=True).fill("Luísa Andrade")
    dialog.get_by_label("E-mail").fill(CUSTOMER)
    dialog.get_by_label("Primeira senha").fill(PASSWORD)
    dialog.get_by_label("Plano").select_option(label="Business")
    save(page)
    expect(page.locator("section.card", has_text="Luísa Andrade")).to_contain_text("Business")
    page.get_by_role("button", name="Sair").click()

    expect(page).to_have_url(f"{demo.url}/login")
    sign_in(page, CUSTOMER, PASSWORD)
    expect(page).to_have_url(f"{demo.url}/dashboard")
    page.get_by_role("button", name="Criar chip").first.click()
    dialog.get_by_label("Nome").fill("Vendas")
    dialog.get_by_text("Motor externo", exact=True).click()
    dialog.get_by_role("button", name="Criar chip").click()
    proxy_url = dialog.locator("#secret-http").inner_text()
    dialog.get_by_role("button", name="Já guardei").click()
    expect(page.get_by_role("link", name="Vendas")).to_be_visible()

    used = page.locator("[data-used]")
    expect(used).to_have_text("0 B")
    chat(proxy_url, 1_500_000)  # there and back: three million bytes, and what the tunnel itself costs
    expect(used).to_have_text(re.compile(r"^3(,\d+)?\sMB$"))
    first = megabytes(used)
    chat(proxy_url, 1_000_000)
    expect(used).to_have_text(re.compile(r"^5(,\d+)?\sMB$"))
    assert megabytes(used) > first
    page.get_by_role("link", name="Vendas").click()
    expect(page.get_by_text("Conectado").first).to_be_visible()
    expect(page.locator("dl.facts")).to_contain_text(re.compile(r"5(,\d+)?\sMB"))
