"""Chips in a real browser: created, shown, changed and removed."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, make_account, new_chip, ready_pool, settle
from whago.domain.models import ChipStatus, Engine, User
from whago.kit.crypto import Vault

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def customer(live: LiveServer, vault: Vault) -> User:
    ready_pool(vault)
    return make_account("business")


def fill_new_chip(page: Page, alias: str, engine: str = "Motor externo") -> None:
    page.get_by_role("button", name="Criar chip").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Nome")).to_be_focused()
    page.keyboard.type(alias)
    dialog.get_by_text(engine, exact=True).click()
    dialog.get_by_role("button", name="Criar chip").click()


def test_an_external_chip_shows_its_credential_this_once(visits: Visits, customer: User) -> None:
    page = visits.signed_in(customer, "/chips")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fill_new_chip(page, "Suporte")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Guarde agora: só aparece desta vez.")).to_be_visible()
    url = dialog.locator("#secret-http").inner_text()
    assert re.fullmatch(r"http://[0-9a-f-]{36}:[\w-]{43}@gateway\.example\.com:3128", url)
    expect(dialog.locator("#secret-curl")).to_contain_text(f"curl -x '{url}' https://web.whatsapp.com")
    dialog.get_by_role("button", name="Copiar").first.click()
    expect(dialog.get_by_role("button", name="Copiado")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == url
    dialog.get_by_role("button", name="Já guardei").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#dialog")).to_be_empty()
    expect(page.get_by_role("link", name="Suporte")).to_be_visible()
    assert url.split("@")[0].split(":")[-1] not in page.content()
    page.reload()
    assert url.split("@")[0].split(":")[-1] not in page.content()


def test_it_says_in_words_why_a_chip_cannot_be_created(visits: Visits, live: LiveServer, vault: Vault) -> None:
    customer = make_account("business")
    page = visits.signed_in(customer, "/chips")
    dialog = page.get_by_role("dialog")
    alert = dialog.get_by_role("alert")

    fill_new_chip(page, "Suporte")
    expect(alert).to_contain_text("um chip nunca conecta sem o seu próprio proxy")  # 503 no_healthy_proxy

    ready_pool(vault)
    dialog.get_by_text("Ponte do WHAGO", exact=True).click()
    dialog.get_by_role("button", name="Criar chip").click()
    expect(alert).to_contain_text("Um motor externo funciona sem a ponte.")  # 503 bridge_unavailable

    chips = [new_chip(customer, f"Vendas {number}") for number in range(3)]
    dialog.get_by_role("button", name="Criar chip").click()
    expect(alert).to_contain_text("Exclua um chip de que não precisa mais")  # 403 chip_limit

    Meter.start().move(chips[0].chip_id, 1_000_000_000)
    dialog.get_by_role("button", name="Criar chip").click()
    expect(alert).to_contain_text("O tráfego do mês do seu plano acabou.")  # 402 quota_exhausted
    expect(alert).to_contain_text("Peça um plano maior ao administrador")


def test_a_name_that_is_taken_or_missing_is_told(visits: Visits, customer: User) -> None:
    new_chip(customer, "Suporte")
    page = visits.signed_in(customer, "/chips")
    fill_new_chip(page, "Suporte")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("alert")).to_contain_text("Suporte")
    dialog.get_by_label("Nome").fill("   ")
    dialog.get_by_role("button", name="Criar chip").click()
    expect(dialog.get_by_label("Nome")).to_be_focused()
    expect(dialog.locator("#f-alias-error")).not_to_be_empty()


def test_a_hostile_name_is_only_a_name(visits: Visits, customer: User) -> None:
    page = visits.signed_in(customer, "/chips")
    fill_new_chip(page, HOSTILE)
    page.get_by_role("button", name="Já guardei").click()
    link = page.get_by_role("link", name=HOSTILE)
    expect(link).to_be_visible()
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    page.get_by_role("button", name="Excluir").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    assert page.title() != "owned"


def test_the_dialog_is_kept_by_keyboard(visits: Visits, customer: User) -> None:
    page = visits.signed_in(customer, "/chips")
    opener = page.get_by_role("button", name="Criar chip").first
    opener.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Criar chip")
    expect(dialog).to_be_visible()
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert page.evaluate(inside)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()
    expect(page.locator("#dialog")).to_be_empty()


def test_the_list_is_searched_and_the_address_remembers(visits: Visits, customer: User) -> None:
    settle(new_chip(customer, "Vendas").chip_id, ChipStatus.CONNECTED, phone="+55 11 98765-4321")
    new_chip(customer, "Suporte")
    page = visits.signed_in(customer, "/chips")
    page.get_by_label("Buscar chips").fill("vend")
    expect(page.get_by_role("link", name="Suporte")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"search=vend"))
    page.get_by_label("Status").select_option("created")
    expect(page.get_by_text("Nada encontrado")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Buscar chips")).to_have_value("vend")
    expect(page.get_by_role("link", name="Vendas")).to_be_visible()
    for _ in range(2):  # its own refreshing keeps the filter: when it asks again, the first answer is on the page
        with page.expect_response(re.compile(r"/chips\?.*search=vend")):
            pass
    expect(page.get_by_role("link", name="Suporte")).to_be_hidden()


def test_the_list_lives(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    page = visits.signed_in(customer, "/chips")
    row = page.get_by_role("row", name="Suporte")
    expect(row).to_contain_text("Criado")
    settle(chip_id, ChipStatus.CONNECTED, phone="+55 11 98765-4321", exit_ip="187.19.204.31")
    Meter.start().move(chip_id, 12_300_000)
    for text in ("Conectado", "+55 11 98765-4321", "187.19.204.31", "12,3 MB", "Smartproxy Brasil"):
        expect(row).to_contain_text(text)


def test_a_chip_changes_its_proxy_its_credential_and_goes(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    page = visits.signed_in(customer, f"/chips/{chip_id}")
    identifier = page.get_by_text(re.compile(rf"^chip-{chip_id}"))
    before = identifier.first.inner_text()
    page.get_by_role("button", name="Trocar proxy").click()
    page.get_by_role("dialog").get_by_role("button", name="Trocar proxy").click()
    expect(page.get_by_text("O chip está com um novo proxy.")).to_be_visible()
    expect(identifier.first).not_to_have_text(before)
    expect(page.get_by_text("trocado pelo cliente").first).to_be_visible()

    page.get_by_role("button", name="Nova credencial").click()
    page.get_by_role("button", name="Gerar nova").click()
    expect(page.locator("#secret-socks")).to_contain_text("socks5h://")
    page.get_by_role("button", name="Já guardei").click()

    visits.mean_failing_requests()  # the page may ask for the chip once more while it is left
    page.get_by_role("button", name="Excluir").click()
    page.get_by_role("button", name="Excluir chip").click()
    expect(page).to_have_url(f"{visits.live.url}/chips")
    expect(page.get_by_text("O chip foi excluído.")).to_be_visible()
    expect(page.get_by_text("Nenhum chip ainda")).to_be_visible()


def test_another_ones_chip_does_not_exist(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    page = visits.signed_in(make_account("business"), f"/chips/{chip_id}")
    expect(page.get_by_role("heading")).to_have_text("Esta página não existe")
    assert "Suporte" not in page.content()


def test_the_pairing_code_is_drawn_and_survives_the_pages_refreshing(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Na ponte", engine=Engine.BRIDGE).chip_id
    settle(chip_id, ChipStatus.WAITING_QR)
    page = visits.signed_in(customer, "/dashboard")
    codes = iter(["2@first", "2@first", "2@second"])
    # WhatsApp's own codes cannot be had here, so the answer of the bridge is put in its place.
    page.route("**/chips/*/qr", lambda route: route.fulfill(json={"qr": next(codes, "2@second")}))
    page.goto(f"/chips/{chip_id}")
    code = page.get_by_role("img", name="Código QR para parear este chip")
    expect(code).to_be_visible()
    first = code.locator("path").get_attribute("d")
    expect(code.locator("path")).not_to_have_attribute("d", str(first))
    settle(chip_id, ChipStatus.CONNECTED)
    expect(code).to_be_hidden()
