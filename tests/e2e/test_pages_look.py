"""Every page in both languages, light and dark, on a phone and on a desk: accessible, and no wider than the screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, make_account, make_admin, new_chip, past_usage, ready_pool, settle
from whago.domain.models import ChipStatus, User
from whago.kit.crypto import Vault

pytestmark = pytest.mark.browser

AXE = (Path(__file__).parent / "vendor/axe/axe.min.js").read_text()
SERIOUS = ("serious", "critical")
LOOKS = [
    {"locale": "pt-BR", "color_scheme": "light", "viewport": {"width": 1440, "height": 900}},
    {"locale": "en-US", "color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
]
ADMIN_PAGES = (
    "/admin/proxies",
    "/admin/proxies?tab=pool",
    "/admin/proxies?tab=stats",
    "/admin/users",
    "/admin/plans",
)


@pytest.fixture
def people(live: LiveServer, vault: Vault) -> tuple[User, User, str]:
    """A customer with two chips and a month behind, an administrator, and the first chip."""
    ready_pool(vault)
    customer = make_account("business", name="Maria Clara Duarte de Albuquerque e Vasconcelos")
    chips = [new_chip(customer, alias).chip_id for alias in ("Suporte", "Vendas de São Paulo e região metropolitana")]
    settle(chips[0], ChipStatus.CONNECTED, phone="+55 11 98765-4321", exit_ip="2804:14c:65a1:4fbe:8d3f:aa01:9c2e:77d1")
    past_usage(Meter.start(), chips)
    return customer, make_admin(), str(chips[0])


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['locale']}-{look['color_scheme']}")
def test_every_page_is_accessible_and_fits(
    visits: Visits, people: tuple[User, User, str], look: dict[str, object]
) -> None:
    customer, admin, chip_id = people
    page = visits.anonymous(**look)
    for path in ("/login", "/register", "/nowhere"):
        page.goto(path)
        check(page, path)
    page = visits.signed_in(customer, **look)
    for path in ("/dashboard", "/chips", f"/chips/{chip_id}", "/notifications"):
        page.goto(path)
        check(page, path)
    page = visits.signed_in(admin, **look)
    for path in ADMIN_PAGES:
        page.goto(path)
        check(page, path)


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look['locale']}-{look['color_scheme']}")
def test_every_dialog_is_accessible_and_fits(
    visits: Visits, people: tuple[User, User, str], look: dict[str, object]
) -> None:
    customer, admin, chip_id = people
    for user, path in ((customer, f"/chips/{chip_id}"), *((admin, path) for path in ADMIN_PAGES)):
        page = visits.signed_in(user, path, **look)
        openers = page.locator("[hx-target='#dialog']:visible")
        for number in range(openers.count()):
            openers.nth(number).click()
            expect(page.locator("#dialog .dialog-foot")).to_be_visible()
            check(page, f"{path}, dialog {number}")
            page.keyboard.press("Escape")
            expect(page.locator("#dialog")).to_be_hidden()


def check(page: Page, where: str) -> None:
    """No serious finding of axe-core, and nothing to scroll sideways."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.evaluate("document.getAnimations().forEach(animation => animation.finish())")
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
    assert serious == [], where
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
