"""The administrators' overview and lists, charts and bands, in a real browser."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import expect
from sqlalchemy import update

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, assignment_of, backdate, make_account, make_admin, new_chip, ready_pool, settle
from tests.factories import make_proxy
from whago.domain.actions.exit_ips import observe_exit_ip
from whago.domain.models import ChipStatus, ExitIpObservation, GatewayBoot, Severity, User, raise_alert
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
NBSP = "\N{NO-BREAK SPACE}"


@pytest.fixture
def boss(live: LiveServer) -> User:
    return make_admin()


@pytest.fixture
def maria(live: LiveServer, vault: Vault) -> User:
    ready_pool(vault)
    return make_account("business", name="Maria Duarte")


def test_the_overview_lives(visits: Visits, boss: User, maria: User) -> None:
    chip, meter = new_chip(maria, "Suporte").chip_id, Meter.start()
    meter.move(chip, 100_000_000)
    page = visits.signed_in(boss, "/admin")
    page.evaluate("window.sameDocument = true")
    expect(page.locator("[data-today]")).to_have_text(f"100{NBSP}MB")
    expect(page.get_by_text("Ninguém ainda")).to_be_visible()
    meter.move(chip, 750_000_000)
    expect(page.locator("[data-today]")).to_have_text(f"850{NBSP}MB")
    expect(page.locator("[data-rate]")).to_contain_text("/s")
    near = page.locator("section.card", has_text="Quem está perto do limite")
    expect(near.get_by_role("listitem")).to_contain_text("85%")
    with transaction() as db:
        raise_alert(db, "provider_down", "p", now=clock.now(), severity=Severity.ERROR, data={"provider": HOSTILE})
    broken = page.locator("section.card", has_text="O que está com problema agora")
    expect(broken.get_by_role("listitem").filter(has_text=HOSTILE)).to_be_visible()
    expect(broken).to_contain_text("1 alerta aberto")
    assert page.evaluate("window.sameDocument") is True
    assert page.locator("img").count() == 0
    near.get_by_role("link", name="Maria Duarte").click()
    expect(page.locator("section.card", has_text="Maria Duarte")).to_be_visible()


def test_the_chart_is_split_and_told_in_money(visits: Visits, maria: User) -> None:
    meter = Meter.start()
    for number, alias in enumerate(("Suporte", HOSTILE[:40], "Cobrança")):
        meter.move(new_chip(maria, alias).chip_id, (number + 1) * 10_000_000)
    page = visits.signed_in(maria)
    expect(page.locator("#series canvas")).to_be_visible()
    page.get_by_role("button", name="Por chip").click()
    expect(page.locator(".legend li")).to_have_text(["Cobrança", HOSTILE[:40], "Suporte"])
    expect(page).to_have_url(re.compile(r"/dashboard\?by=chip$"))
    page.get_by_role("button", name="R$", exact=True).click()
    expect(page.get_by_role("button", name="R$", exact=True)).to_have_attribute("aria-pressed", "true")
    with page.expect_response("**/dashboard/series?by=chip"):
        page.evaluate("htmx.trigger('#series', 'refresh')")
    expect(page.get_by_role("button", name="R$", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".legend li")).to_have_count(3)
    expect(page.locator("#series .u-over")).to_be_visible()
    box = page.locator("#series .u-over").evaluate("element => element.getBoundingClientRect().toJSON()")
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + box["height"] / 2)
    expect(page.locator("#series .chart-tip")).to_contain_text("Cobrança: 30 MB · R$")
    page.reload()
    expect(page.locator(".legend li")).to_have_count(3)
    page.go_back()
    expect(page.locator(".legend")).to_have_count(0)


def test_the_continuity_of_an_exit_ip_is_told_on_hover_and_as_a_table(visits: Visits, maria: User) -> None:
    chip = new_chip(maria, "Suporte").chip_id
    settle(chip, ChipStatus.CONNECTED, exit_ip="187.19.204.31")
    backdate(chip, 40)
    with transaction() as db:
        db.execute(update(ExitIpObservation).values(first_seen_at=clock.now() - timedelta(days=12)))
    page = visits.signed_in(maria, f"/chips/{chip}")
    stretches = page.locator("#exit-band rect")
    expect(stretches).to_have_count(1)
    stretches.first.hover()
    tip = page.locator("#exit-band [data-band-tip]")
    expect(tip).to_contain_text("187.19.204.31")
    expect(tip).to_contain_text("12 dias")
    observe_exit_ip(assignment_of(chip).id, "189.40.72.9", country="BR", asn="AS1", now=clock.now())
    expect(stretches).to_have_count(2)
    expect(tip).to_contain_text("187.19.204.31")  # the page's refreshing leaves it there
    table = page.locator("#exit-band-table")
    table.get_by_text("Ver como tabela").click()
    expect(table.locator("tbody tr")).to_contain_text(["189.40.72.9", "187.19.204.31"])
    expect(page.locator("#status-band rect").last).to_have_attribute("data-tip", "Conectado")


def test_a_list_is_sorted_by_its_heads_and_keeps_its_filter(visits: Visits, maria: User) -> None:
    meter = Meter.start()
    for number, alias in enumerate(("Beta", "Alfa", "Gama")):
        meter.move(new_chip(maria, alias).chip_id, (3 - number) * 1_000_000)
    page = visits.signed_in(maria, "/chips")
    rows = page.locator("#chips tbody tr")
    expect(rows).to_contain_text(["Gama", "Alfa", "Beta"])
    page.get_by_role("columnheader", name="Chip").get_by_role("link").click()
    expect(rows).to_contain_text(["Alfa", "Beta", "Gama"])
    expect(page.get_by_role("columnheader", name="Chip")).to_have_attribute("aria-sort", "ascending")
    page.get_by_role("columnheader", name="Neste mês").get_by_role("link").click()
    expect(rows).to_contain_text(["Beta", "Alfa", "Gama"])
    page.get_by_label("Buscar chips").fill("a")
    expect(page).to_have_url(re.compile(r"sort=usage.*search=a|search=a.*sort=usage"))
    expect(rows).to_contain_text(["Beta", "Alfa", "Gama"])


def test_an_administrator_puts_a_chip_on_a_proxy(visits: Visits, boss: User, vault: Vault) -> None:
    provider, first = ready_pool(vault)
    other = make_proxy(provider, proxy_url="http://203.0.113.9:3120")
    customer = make_account("business", name=HOSTILE)
    chip = new_chip(customer, "Suporte")
    wanted = other if assignment_of(chip.chip_id).proxy_id != other.id else first
    page = visits.signed_in(boss, "/admin/chips")
    row = page.get_by_role("row", name="Suporte")
    expect(row).to_contain_text(HOSTILE)
    row.get_by_role("button", name="Escolher o proxy de Suporte").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Proxy").select_option(str(wanted.id))
    dialog.get_by_role("button", name="Usar este proxy").click()
    expect(page.get_by_text("O chip está no novo proxy.")).to_be_visible()
    assert assignment_of(chip.chip_id).proxy_id == wanted.id
    page.get_by_label("Buscar chips").fill("nobody")
    expect(page.get_by_text("Nada encontrado")).to_be_visible()

    page.goto("/admin/audit")
    expect(page.locator("#audit tbody tr").first).to_contain_text("Chip colocado em um proxy")
    page.get_by_label("Ação", exact=True).select_option("chip.force_proxy")
    expect(page).to_have_url(re.compile(r"action=chip\.force_proxy"))
    expect(page.locator("#audit tbody tr")).to_have_count(1)


def test_a_password_is_reset_by_hand(visits: Visits, boss: User, maria: User) -> None:
    theirs = visits.signed_in(maria, "/notifications")
    page = visits.signed_in(boss, "/admin/users")
    page.get_by_role("button", name="Redefinir senha de Maria Duarte").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Nova senha").fill("uma senha nova e comprida")
    dialog.get_by_role("button", name="Definir a senha").click()
    expect(page.get_by_text("Todos os dispositivos foram desconectados.")).to_be_visible()
    theirs.goto("/chips")
    expect(theirs).to_have_url(f"{visits.live.url}/login?next=%2Fchips")


def test_the_system_tells_who_fell_silent(visits: Visits, boss: User) -> None:
    Meter.start()
    page = visits.signed_in(boss, "/admin/system")
    row = page.get_by_role("row", name="127.0.0.1:3128")
    expect(row).to_contain_text("responde")
    with transaction() as db:
        db.execute(update(GatewayBoot).values(last_seen_at=clock.now() - timedelta(minutes=1)))
    expect(row).to_contain_text("em silêncio")


def test_a_click_inside_a_live_part_is_never_dropped(visits: Visits, maria: User) -> None:
    """While the part's own refreshing is on its way, a button in it still asks for its dialog."""
    new_chip(maria, "Suporte")
    page = visits.signed_in(maria, "/chips")
    page.route("**/chips", lambda _route: None)  # the refreshing never comes home
    with page.expect_request(lambda request: request.url.endswith("/chips")):
        pass
    page.get_by_role("button", name="Excluir Suporte").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_contain_text("Excluir Suporte")


def test_a_customer_has_no_way_in(visits: Visits, maria: User) -> None:
    page = visits.signed_in(maria)
    for path in ("/admin", "/admin/chips", "/admin/audit", "/admin/system"):
        page.goto(path)
        expect(page.get_by_role("heading")).to_have_text("Esta conta não tem acesso")
