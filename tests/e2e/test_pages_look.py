"""Every page and every dialog in both languages, light and dark, on a phone and on a desk.

Each is accessible and no wider than the screen. A visit asks axe-core everything in its first look, and in the other
three what a theme or a width can change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.looking import LOOKS, Look, looked_at
from tests.e2e.seeding import Meter, make_account, make_admin, new_chip, past_usage, ready_pool, settle
from whago.domain.models import ChipStatus, User
from whago.kit.crypto import Vault

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]  # a hundred pages and dialogs, on however busy a machine


OPENERS: Final = "[hx-get][hx-target='#dialog']:visible"
ANYBODY: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
OPEN_PAGES = ("/login", "/register", "/forgot-password", "/reset-password/of-yesterday", "/nowhere")
CUSTOMER_PAGES = (
    "/dashboard",
    "/dashboard?by=chip",
    "/chips",
    "/usage",
    "/notifications",
    "/settings",
    "/settings/security",
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


@pytest.mark.parametrize("locale", LOOKS)
def test_every_page_and_dialog_is_accessible_and_fits(
    visits: Visits, people: tuple[User, User, str], locale: str
) -> None:
    """One visit of all pages; on each the browser changes its theme and its width."""
    customer, admin, chip_id = people
    wrong: list[str] = []
    for user, paths in (
        (None, OPEN_PAGES),
        (customer, (*CUSTOMER_PAGES, f"/chips/{chip_id}")),
        (admin, ADMIN_PAGES),
    ):
        page = visits.anonymous(locale=locale) if user is None else visits.signed_in(user, paths[0], locale=locale)
        seen: set[str] = set()
        for path in paths:
            page.goto(path)
            wrong += [f"{path} {locale} {told}" for told in looked_at(page, LOOKS[locale])]
            wrong += [f"{path} {locale} {told}" for told in _dialogs_looked_at(page, LOOKS[locale], seen)]
    assert wrong == [], "\n".join(wrong)


def _dialogs_looked_at(page: Page, looks: Sequence[Look], seen: set[str]) -> Iterator[str]:
    """Of dialogs that differ only in whom they are about, one is looked at."""
    openers = page.locator(OPENERS)
    for path in openers.evaluate_all("openers => openers.map((one) => one.getAttribute('hx-get'))"):
        kind = ANYBODY.sub("*", path)
        if kind in seen:
            continue
        seen.add(kind)
        openers.and_(page.locator(f"[hx-get='{path}']")).first.click()
        expect(page.locator("#dialog .dialog-foot"), path).to_be_visible()
        looks = looks[::-1]  # it opens in the look that was the last one
        yield from (f"{path} {told}" for told in looked_at(page, looks, "#dialog"))
        page.keyboard.press("Escape")
        expect(page.locator("#dialog"), path).to_be_hidden()
