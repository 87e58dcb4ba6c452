"""The dashboard in a real browser: the widget's colours, and that it lives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, make_account, new_chip, ready_pool
from whago.domain.models import User
from whago.kit.crypto import Vault

pytestmark = pytest.mark.browser

LIMIT = 1_000_000_000  # bytes of the business plan
WIDTH = "document.querySelector('.bar-fill').getBoundingClientRect().width"
FULL_WIDTH = "document.querySelector('.bar').getBoundingClientRect().width"

COUNT_TURNS = """
window.turns = { asked: 0, rested: 0 };
document.addEventListener("htmx:beforeRequest", (event) => { if (event.defaultPrevented) turns.rested += 1 });
document.addEventListener("htmx:beforeSend", () => { turns.asked += 1 });
"""


@pytest.fixture
def customer(live: LiveServer, vault: Vault) -> User:
    ready_pool(vault)
    return make_account("business")


def token(page: Page, name: str) -> str:
    """The colour that a name stands for, as the browser computes it."""
    probe = "name => { const e = document.createElement('i'); e.style.color = `var(--${name})`;"
    return str(page.evaluate(probe + " document.body.append(e); return getComputedStyle(e).color }", name))


@pytest.mark.parametrize(
    ("percent", "name", "text"), [(20, "blue", "20%"), (75, "yellow", "75%"), (95, "red", "95%"), (100, "red", "100%")]
)
def test_the_bar_has_the_colour_and_the_length_of_what_was_used(
    visits: Visits, customer: User, percent: int, name: str, text: str
) -> None:
    Meter.start().move(new_chip(customer, "Suporte").chip_id, LIMIT * percent // 100)
    page = visits.signed_in(customer)
    bar = page.get_by_role("progressbar", name="Uso de Proxy neste Mês")
    expect(bar).to_have_attribute("aria-valuenow", f"{percent}.0")
    expect(bar).to_have_class(f"bar bar-{name}")
    expect(page.locator("[data-percent]")).to_have_text(text)
    expect(page.locator(".bar-fill")).to_have_css("fill", token(page, name))
    assert page.evaluate(WIDTH) == pytest.approx(page.evaluate(FULL_WIDTH) * percent / 100, abs=1)


def test_the_widget_moves_by_itself_and_becomes_blocked(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    meter = Meter.start()
    meter.move(chip_id, 100_000_000)
    page = visits.signed_in(customer)
    expect(page.locator("[data-used]")).to_have_text("100 MB")
    page.evaluate("window.sameDocument = true")
    meter.move(chip_id, 123_400_000)
    expect(page.locator("[data-used]")).to_have_text("223,4 MB")
    expect(page.locator("#usage-widget [data-cost]")).to_have_text("R$\N{NO-BREAK SPACE}5,58")
    meter.move(chip_id, LIMIT)
    expect(page.get_by_text("Você atingiu o limite do mês.")).to_be_visible()
    expect(page.get_by_text("Cota de proxy esgotada")).to_be_visible()
    assert page.evaluate("window.sameDocument") is True


def test_a_refresh_keeps_the_elements_so_that_nothing_flickers(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    meter = Meter.start()
    meter.move(chip_id, 100_000_000)
    page = visits.signed_in(customer)
    page.evaluate("window.bar = document.querySelector('.bar'); window.entry = document.querySelector('.entry a')")
    page.locator(".entry a").first.focus()
    meter.move(chip_id, 50_000_000)
    expect(page.locator("[data-used]")).to_have_text("150 MB")
    assert page.evaluate("window.bar === document.querySelector('.bar')")
    assert page.evaluate("window.entry === document.activeElement")


def test_it_rests_while_the_tab_is_hidden(
    visits: Visits, customer: User, eventually: Callable[[Callable[[], bool]], None]
) -> None:
    page = visits.signed_in(customer)
    page.evaluate(COUNT_TURNS)
    eventually(lambda: page.evaluate("turns.asked > 0"))
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true}); turns.asked = 0")
    eventually(lambda: page.evaluate("turns.rested >= 4"))  # two turns of the widget and of what is beside it
    assert page.evaluate("turns.asked") == 0
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    eventually(lambda: page.evaluate("turns.asked > 0"))


def test_it_says_that_the_server_is_away_and_goes_on_when_it_is_back(
    visits: Visits, customer: User, live: LiveServer
) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    page = visits.signed_in(customer)
    note = page.get_by_text("Sem conexão. Tentando de novo…")
    expect(note).to_be_hidden()
    visits.mean_failing_requests()
    live.stop()
    try:
        expect(note).to_be_visible()
    finally:
        live.start()
    Meter.start().move(chip_id, 42_000_000)
    expect(page.locator("[data-used]")).to_have_text("42 MB")
    expect(note).to_be_hidden()


def test_the_chart_is_drawn_from_its_table_and_tells_a_day_on_hover(visits: Visits, customer: User) -> None:
    Meter.start().move(new_chip(customer, "Suporte").chip_id, 12_345_678)
    page = visits.signed_in(customer)
    canvas = page.locator("#series canvas")
    expect(canvas).to_be_visible()
    chart = page.locator(".u-over")
    chart.hover()  # which waits until it has its place
    box = chart.bounding_box()
    assert box is not None
    chart.hover(position={"x": box["width"] - 12, "y": box["height"] / 2})
    expect(page.locator(".chart-tip")).to_contain_text("12,35 MB")
    page.get_by_text("Ver como tabela").click()
    expect(page.locator("#usage-days tbody tr")).to_have_count(30)
    expect(page.locator("#usage-days tbody tr").first).to_contain_text("12,3 MB")


def test_the_open_table_stays_open_while_it_is_refreshed(visits: Visits, customer: User) -> None:
    chip_id = new_chip(customer, "Suporte").chip_id
    meter = Meter.start()
    meter.move(chip_id, 1_000_000)
    page = visits.signed_in(customer)
    page.get_by_text("Ver como tabela").click()
    meter.move(chip_id, 4_000_000)
    page.evaluate("htmx.trigger('#series', 'refresh')")
    expect(page.locator("#usage-days tbody tr").first).to_contain_text("5 MB")
    expect(page.locator("#usage-days")).to_be_visible()
    expect(page.locator("#series canvas")).to_be_visible()


def test_theme_and_language_are_kept(visits: Visits, customer: User) -> None:
    page = visits.signed_in(customer)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Escuro").click()
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Proxy usage this month")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    elsewhere = visits.signed_in(customer)
    expect(elsewhere.get_by_role("heading", name="Proxy usage this month")).to_be_visible()


def test_the_time_zone_is_the_browsers(visits: Visits, customer: User) -> None:
    page = visits.signed_in(customer, timezone_id="Asia/Tokyo")
    page.reload()  # the first page came before the browser could say where it is
    expect(page.locator("#usage-widget time")).to_contain_text("12:00")
    assert str(page.locator("#usage-widget time").get_attribute("title")).endswith("03:00:00 UTC")
