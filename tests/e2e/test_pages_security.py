"""Two-step sign-in in a real browser: set up from the settings, then used at the door."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Visits
from tests.e2e.seeding import PASSWORD, make_admin
from whago.domain.rules.totp import DRIFT_STEPS, code_at, step_at
from whago.kit import clock

pytestmark = pytest.mark.browser


def test_an_administrator_sets_two_steps_up_and_signs_in_with_them(visits: Visits) -> None:
    boss = make_admin()
    page = visits.signed_in(boss, "/settings/security")
    page.get_by_role("button", name="Configurar").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Senha").fill(PASSWORD)
    dialog.get_by_role("button", name="Continuar").click()
    expect(dialog.get_by_role("img", name="QR code")).to_have_js_property("complete", True)
    secret = dialog.locator("#totp-secret").inner_text()
    dialog.get_by_label("Código do aplicativo").fill("000000")
    dialog.get_by_role("button", name="Ativar").click()
    expect(dialog.locator("#f-totp-error")).to_contain_text("não está certo")
    dialog.get_by_label("Código do aplicativo").fill(code_at(secret, step_at(clock.now())))
    dialog.get_by_role("button", name="Ativar").click()
    codes = dialog.locator("#recovery-codes span")
    expect(codes).to_have_count(10)
    kept = codes.first.inner_text()
    dialog.get_by_role("button", name="Já guardei").click()
    expect(page.get_by_text("Restam 10 códigos de recuperação.")).to_be_visible()

    door = at_the_door(visits, boss.email)
    door.get_by_label("Código do seu aplicativo").fill("000000")
    door.get_by_role("button", name="Entrar").click()
    expect(door.get_by_role("alert")).to_contain_text("não está certo")
    # The code that set it up is used, so the next one is typed: good half a minute early too.
    door.get_by_label("Código do seu aplicativo").fill(code_at(secret, step_at(clock.now()) + DRIFT_STEPS))
    door.get_by_role("button", name="Entrar").click()
    expect(door).to_have_url(f"{visits.live.url}/admin")

    without_phone = at_the_door(visits, boss.email)
    without_phone.get_by_label("Código do seu aplicativo").fill(kept.lower())
    without_phone.get_by_role("button", name="Entrar").click()
    expect(without_phone).to_have_url(f"{visits.live.url}/admin")
    without_phone.goto("/settings/security")
    expect(without_phone.get_by_text("Restam 9 códigos de recuperação.")).to_be_visible()
    visits.mean_failing_requests()  # the other pages are still open, and refresh themselves
    without_phone.get_by_role("button", name="Sair de todos os dispositivos").click()
    without_phone.get_by_role("dialog").get_by_role("button", name="Sair de todos os dispositivos").click()
    expect(without_phone).to_have_url(f"{visits.live.url}/login")
    page.goto("/settings/security")
    expect(page).to_have_url(f"{visits.live.url}/login?next=%2Fsettings%2Fsecurity")


def at_the_door(visits: Visits, email: str) -> Page:
    page = visits.anonymous()
    page.goto("/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Senha").fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    expect(page.get_by_label("Código do seu aplicativo")).to_be_focused()
    return page
