"""Coming in and going out, in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import PASSWORD, make_account

pytestmark = pytest.mark.browser


def test_the_door_leads_to_where_somebody_wanted_to_go(visits: Visits) -> None:
    user = make_account("business")
    page = visits.anonymous()
    page.goto("/chips?status=connected")
    expect(page).to_have_url(f"{visits.live.url}/login?next=%2Fchips%3Fstatus%3Dconnected")
    page.get_by_label("E-mail").fill(user.email)
    page.get_by_label("Senha").fill("not the password")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("E-mail ou senha")
    page.get_by_label("Senha").fill(PASSWORD)
    page.get_by_role("button", name="Entrar").click()
    expect(page).to_have_url(f"{visits.live.url}/chips?status=connected")


def test_a_new_customer_registers_and_leaves(visits: Visits) -> None:
    page = visits.anonymous()
    page.goto("/register")
    page.get_by_label("Nome").fill("Maria <b>Clara</b>")
    page.get_by_label("E-mail").fill("not an address")
    page.get_by_label("Senha").fill("short")
    page.get_by_role("button", name="Criar conta").click()
    expect(page.get_by_label("E-mail")).to_be_focused()
    expect(page.get_by_label("E-mail")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#f-password-error")).not_to_be_empty()
    page.get_by_label("E-mail").fill("maria@example.com")
    page.get_by_label("Senha").fill(PASSWORD)
    page.get_by_role("button", name="Criar conta").click()
    expect(page).to_have_url(f"{visits.live.url}/dashboard")
    expect(page.get_by_text("Maria <b>Clara</b>")).to_be_visible()
    page.get_by_role("button", name="Sair").click()
    expect(page).to_have_url(f"{visits.live.url}/login")
    page.goto("/dashboard")
    expect(page).to_have_url(f"{visits.live.url}/login?next=%2Fdashboard")


def test_a_form_says_when_the_server_is_away(visits: Visits, live: LiveServer) -> None:
    user = make_account("business")
    page = visits.anonymous()
    page.goto("/login")
    page.get_by_label("E-mail").fill(user.email)
    page.get_by_label("Senha").fill(PASSWORD)
    live.stop()
    try:
        page.get_by_role("button", name="Entrar").click()
        expect(page.get_by_role("alert")).to_contain_text("O servidor não respondeu")
    finally:
        live.start()
    page.get_by_role("button", name="Entrar").click()
    expect(page).to_have_url(f"{live.url}/dashboard")


def test_an_ended_access_cookie_is_renewed_without_a_word(visits: Visits) -> None:
    user = make_account("business")
    page = visits.signed_in(user, "/notifications")
    page.context.clear_cookies(name="whago_access")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Notifications")).to_be_visible()


def test_whoever_is_signed_out_meanwhile_is_shown_the_door(visits: Visits) -> None:
    page = visits.signed_in(make_account("business"))
    visits.mean_failing_requests()
    page.context.clear_cookies()
    expect(page).to_have_url(f"{visits.live.url}/login?next=%2Fdashboard")
