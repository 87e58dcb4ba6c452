"""A forgotten password, settings, API keys and the months, in a real browser."""

from __future__ import annotations

import email
import re
from email import policy
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import PASSWORD, Meter, make_account, new_chip, ready_pool
from whago.domain.models import User
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.languages import LOCALES, Translators
from whago.notify.email import MailFolder
from whago.notify.reset_letters import ResetWriter

pytestmark = pytest.mark.browser

EMAIL = "maria@example.com"
NEW = "uma senha nova e comprida"


@pytest.fixture
def maria(live: LiveServer, vault: Vault) -> User:
    ready_pool(vault)
    return make_account("business", name="Maria Duarte", email=EMAIL)


def link_in_the_mailbox(folder: Path, live: LiveServer) -> str:
    """What the worker's clock sends, as the reader finds it."""
    mailer = MailFolder(folder, "WHAGO <whago@example.com>")
    ResetWriter(mailer, Translators(LOCALES), live.url).send_due(now=clock.now)
    (letter,) = (folder / "new").iterdir()
    body = email.message_from_bytes(letter.read_bytes(), policy=policy.default).get_body(("plain",))
    assert body is not None
    found = re.search(rf"{re.escape(live.url)}/reset-password/[\w-]+", body.get_content())
    assert found
    return found[0]


def test_a_forgotten_password_is_replaced_by_the_link_that_was_sent(
    visits: Visits, maria: User, live: LiveServer, tmp_path: Path
) -> None:
    page = visits.anonymous()
    page.goto("/login")
    page.get_by_role("link", name="Esqueceu a senha?").click()
    page.get_by_label("E-mail").fill("not an address")
    page.get_by_role("button", name="Enviar o link").click()
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_role("button", name="Enviar o link").click()
    expect(page.get_by_role("status").filter(has_text="Veja a sua caixa de entrada.")).to_be_visible()

    link = link_in_the_mailbox(tmp_path / "mail", live)
    page.goto(link)
    page.get_by_label("Nova senha").fill("short")
    page.get_by_role("button", name="Salvar a nova senha").click()
    expect(page.get_by_label("Nova senha")).to_be_focused()
    page.get_by_label("Nova senha").fill(NEW)
    page.get_by_role("button", name="Salvar a nova senha").click()
    expect(page).to_have_url(f"{live.url}/login")
    expect(page.get_by_text("Sua nova senha já vale.")).to_be_visible()
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Senha", exact=True).fill(NEW)
    page.get_by_role("button", name="Entrar").click()
    expect(page).to_have_url(f"{live.url}/dashboard")

    page.goto(link)
    expect(page.get_by_role("heading", name="O link não vale mais")).to_be_visible()
    page.get_by_role("link", name="Pedir um novo link").click()
    expect(page).to_have_url(f"{live.url}/forgot-password")


def test_a_forgotten_password_says_when_the_server_is_away(visits: Visits, maria: User, live: LiveServer) -> None:
    page = visits.anonymous()
    page.goto("/forgot-password")
    page.get_by_label("E-mail").fill(EMAIL)
    live.stop()
    try:
        page.get_by_role("button", name="Enviar o link").click()
        expect(page.get_by_role("alert")).to_contain_text("O servidor não respondeu")
    finally:
        live.start()
    page.get_by_role("button", name="Enviar o link").click()
    expect(page.get_by_text("Veja a sua caixa de entrada.")).to_be_visible()


def test_name_language_and_time_zone_are_kept(visits: Visits, maria: User) -> None:
    page = visits.signed_in(maria, "/settings")
    profile = page.locator("section.card", has=page.get_by_role("heading", name="Perfil"))
    profile.get_by_label("Nome").fill("Maria <b>Duarte</b>")
    profile.get_by_role("button", name="Salvar").click()
    expect(page.locator(".account-text")).to_contain_text("Maria <b>Duarte</b>")

    reading = page.locator("section.card", has=page.get_by_role("heading", name="Idioma e horário"))
    reading.get_by_label("Fuso horário").fill("Marte/Fobos")
    reading.get_by_role("button", name="Salvar").click()
    expect(reading.get_by_label("Fuso horário")).to_be_focused()
    expect(reading.locator("#f-time_zone-error")).to_contain_text("America/Sao_Paulo")
    reading.get_by_label("Fuso horário").fill("Asia/Tokyo")
    reading.get_by_label("Idioma").select_option("en")
    reading.get_by_role("button", name="Salvar").click()
    expect(page.get_by_role("heading", name="Language and time")).to_be_visible()
    page.goto("/dashboard")
    expect(page.locator("#usage-widget time")).to_contain_text("12:00")  # 03:00 UTC is noon in Tokyo


def test_a_new_password_signs_out_every_other_device(visits: Visits, maria: User) -> None:
    elsewhere = visits.signed_in(maria, "/notifications")
    page = visits.signed_in(maria, "/settings")
    page.get_by_label("Senha atual").fill("not the password")
    page.get_by_label("Nova senha").fill(NEW)
    page.get_by_role("button", name="Mudar a senha").click()
    expect(page.get_by_label("Senha atual")).to_be_focused()
    page.get_by_label("Senha atual").fill(PASSWORD)
    page.get_by_role("button", name="Mudar a senha").click()
    expect(page.get_by_text("Os outros dispositivos foram desconectados.").last).to_be_visible()
    expect(page.get_by_label("Senha atual")).to_have_value("")
    elsewhere.goto("/chips")
    expect(elsewhere).to_have_url(f"{visits.live.url}/login?next=%2Fchips")


def test_an_api_key_is_shown_once_works_and_is_revoked(visits: Visits, maria: User) -> None:
    page = visits.signed_in(maria, "/settings/api-keys")
    page.get_by_role("button", name="Nova chave").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Criar a chave").click()
    expect(dialog.get_by_label("Nome")).to_be_focused()
    dialog.get_by_label("Nome").fill("CRM <img src=x>")
    expect(dialog.get_by_role("radio", name="Só consultar")).to_be_checked()
    expect(dialog.get_by_role("radio")).to_have_count(2)  # nothing of administration for a customer
    dialog.get_by_role("button", name="Criar a chave").click()
    key = dialog.locator("#secret-key").inner_text()
    assert re.fullmatch(r"whk_[\w-]{43}", key)
    expect(dialog.locator("#secret-call")).to_contain_text(f"curl -H 'X-API-Key: {key}' {visits.live.url}/api/v1/chips")
    dialog.get_by_role("button", name="Já guardei").click()
    row = page.get_by_role("row", name="CRM <img src=x>")
    expect(row).to_contain_text("Só consultar")
    expect(row).to_contain_text("nunca")
    expect(page.locator("#dialog")).to_be_empty()
    assert key not in page.content()

    stranger = visits.anonymous()
    headers = {"X-API-Key": key}
    assert stranger.request.get("/api/v1/chips", headers=headers).ok
    assert stranger.request.post("/api/v1/chips", headers=headers, data={"alias": "x"}).status == 403
    page.reload()
    expect(row).not_to_contain_text("nunca")
    row.get_by_role("button", name="Revogar").click()
    dialog.get_by_role("button", name="Revogar").click()
    expect(page.get_by_text("Nenhuma chave ainda")).to_be_visible()
    assert stranger.request.get("/api/v1/chips", headers=headers).status == 401


def test_the_months_are_chosen_sorted_and_taken_along(visits: Visits, maria: User) -> None:
    meter, first, second = Meter.start(), new_chip(maria, "Suporte").chip_id, new_chip(maria, "Alfa").chip_id
    meter.move(first, 300_000_000)
    meter.move(second, 100_000_000)
    before = clock.now().replace(day=1, hour=15)
    before = before.replace(year=before.year - (before.month == 1), month=(before.month - 2) % 12 + 1)
    meter.move(first, 50_000_000, at=before)
    page: Page = visits.signed_in(maria, "/usage")
    rows = page.locator("#usage tbody tr[id]")
    expect(rows).to_contain_text(["Suporte", "Alfa"])
    expect(rows.first).to_contain_text("75%")
    page.get_by_role("link", name="Chip", exact=True).click()
    expect(rows).to_contain_text(["Alfa", "Suporte"])
    meter.move(second, 11_000_000)
    expect(rows.first).to_contain_text("111\N{NO-BREAK SPACE}MB")  # it lives

    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    lines = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert lines[0] == "Mês,chip_id,Chip,bytes,GB,Custo (BRL)"
    assert len(lines) == 3

    page.get_by_label("Mês", exact=True).select_option(f"{before:%Y-%m}")
    expect(rows).to_have_count(1)
    expect(page).to_have_url(re.compile(rf"month={before:%Y-%m}"))
    expect(rows.first).to_contain_text("50\N{NO-BREAK SPACE}MB")
    page.go_back()
    expect(rows).to_have_count(2)
    expect(page.locator("#usage canvas")).to_be_visible()
