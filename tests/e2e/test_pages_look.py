"""Every page in both languages, light and dark, on a phone and on a desk: accessible, and no wider than the screen."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, make_account, make_admin, new_chip, past_usage, ready_pool, settle
from whago.domain.models import ChipStatus, User
from whago.kit.crypto import Vault

pytestmark = pytest.mark.browser

Scheme = Literal["light", "dark"]

AXE = (Path(__file__).parent / "vendor/axe/axe.min.js").read_text()
SERIOUS = ("serious", "critical")
LANGUAGES = ("pt-BR", "en-US")
DESK: ViewportSize = {"width": 1440, "height": 900}
PHONE: ViewportSize = {"width": 390, "height": 844}
LOOKS: tuple[tuple[Scheme, ViewportSize], ...] = (("light", DESK), ("dark", PHONE), ("light", PHONE), ("dark", DESK))
OPEN_PAGES = ("/login", "/register", "/forgot-password", "/reset-password/of-yesterday", "/nowhere")
CUSTOMER_PAGES = (
    "/dashboard",
    "/dashboard?by=chip",
    "/chips",
    "/usage",
    "/notifications",
    "/settings",
    "/settings/channels",
    "/settings/api-keys",
)
ADMIN_PAGES = (
    "/admin",
    "/admin/proxies",
    "/admin/proxies?tab=pool",
    "/admin/proxies?tab=stats",
    "/admin/users",
    "/admin/chips",
    "/admin/plans",
    "/admin/alerts",
    "/admin/reports",
    "/admin/reports?tab=providers",
    "/admin/reports?tab=chips",
    "/admin/reports?tab=files",
    "/admin/reports/print",
    "/admin/audit",
    "/admin/system",
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


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_page_is_accessible_and_fits(visits: Visits, people: tuple[User, User, str], locale: str) -> None:
    """One visit of all pages a language; on each the browser changes its theme and its width.

    Room is measured in all of them; axe-core looks at one theme and width a language, at both in both languages.
    """
    customer, admin, chip_id = people
    closely = LOOKS[LANGUAGES.index(locale)]
    for user, paths in (
        (None, OPEN_PAGES),
        (customer, (*CUSTOMER_PAGES, f"/chips/{chip_id}")),
        (admin, ADMIN_PAGES),
    ):
        page = visits.signed_in(user, locale=locale) if user is not None else visits.anonymous(locale=locale)
        for path in paths:
            page.goto(path)
            for look in LOOKS:
                scheme, viewport = look
                page.emulate_media(color_scheme=scheme)
                page.set_viewport_size(viewport)
                where = f"{path} {locale} {scheme} {viewport['width']}"
                fits(page, where)
                if look == closely:
                    is_accessible(page, where)


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_dialog_is_accessible_and_fits(visits: Visits, people: tuple[User, User, str], locale: str) -> None:
    customer, admin, chip_id = people
    closely = LOOKS[LANGUAGES.index(locale)]
    for user, paths in (
        (customer, (f"/chips/{chip_id}", "/settings/channels", "/settings/api-keys")),
        (admin, ADMIN_PAGES),
    ):
        page = visits.signed_in(user, locale=locale, color_scheme=closely[0], viewport=closely[1])
        for path in paths:
            page.goto(path)
            openers = page.locator("[hx-target='#dialog']:visible")
            for number in range(openers.count()):
                openers.nth(number).click()
                expect(page.locator("#dialog .dialog-foot"), f"{path}, dialog {number}").to_be_visible()
                where = f"{path} {locale}, dialog {number}"
                fits(page, where)
                is_accessible(page, where, "#dialog")
                page.keyboard.press("Escape")
                expect(page.locator("#dialog")).to_be_hidden()


def fits(page: Page, where: str) -> None:
    """Nothing to scroll sideways."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)
    page.evaluate("document.getAnimations().forEach(animation => animation.finish())")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where


def is_accessible(page: Page, where: str, part: str = "html") -> None:
    """No serious finding of axe-core."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("part => axe.run(part, {resultTypes: ['violations']})", part)
    serious = [
        f"{one['id']}: {node['target']} {node.get('failureSummary', '')}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
    assert serious == [], where
