"""Reports as an administrator uses them: months, tabs, files that are prepared, and paper."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.conftest import SECRET
from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, make_account, make_admin, new_chip, ready_pool
from tests.factories import TZ
from whago.domain.actions.month_closing import close_month
from whago.domain.actions.report_runs import claim_report, report_progress
from whago.domain.models import User
from whago.domain.rules.months import billing_month, month_start, previous_month
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.tasks.clock import Tools
from whago.tasks.reports import make_reports

pytestmark = pytest.mark.browser

MB = 10**6


@pytest.fixture
def boss(live: LiveServer, vault: Vault) -> User:
    """Two customers: one used 100 MB in the last month, both use the running one."""
    ready_pool(vault, cost_per_gb=20)
    now = clock.now()
    long_ago = now - timedelta(days=90)
    maria = make_account("business", name="Maria Clara Duarte", created_at=long_ago)
    joao = make_account("enterprise", name="João & Filhos", created_at=long_ago)
    meter = Meter.start()
    chips = [new_chip(maria, "Vendas").chip_id, new_chip(joao, "Suporte").chip_id]
    this = month_start(billing_month(now, TZ), TZ)
    meter.move(chips[0], 100 * MB, at=this - timedelta(days=3))
    meter.move(chips[0], 50 * MB, at=now)
    meter.move(chips[1], 200 * MB, at=now)
    return make_admin()


@pytest.fixture
def tools(database: str, tmp_path: Path) -> Tools:
    return Tools(Vault([SECRET]), TZ, data_dir=tmp_path)


def test_the_month_is_chosen_and_stays_in_the_address(visits: Visits, boss: User) -> None:
    page = visits.signed_in(boss, "/dashboard")
    page.get_by_role("link", name="Relatórios").click()
    expect(page.get_by_role("heading", name="Relatórios")).to_be_visible()
    expect(page.locator("#report-figures")).to_contain_text("R$ 394,00")
    expect(page.locator("#report-figures")).to_contain_text("R$ 5,00")
    expect(page.get_by_role("row").filter(has_text="João & Filhos")).to_contain_text("R$ 4,00")
    last = f"{previous_month(billing_month(clock.now(), TZ)):%Y-%m}"
    page.get_by_label("Mês", exact=True).select_option(last)
    expect(page.get_by_role("row").filter(has_text="Maria Clara")).to_contain_text("R$ 2,00")
    expect(page.locator("#report-figures")).to_contain_text("ainda não fechado")
    expect(page).to_have_url(f"{visits.live.url}/admin/reports?tab=customers&month={last}")
    close_month(previous_month(billing_month(clock.now(), TZ)), now=clock.now(), tz=TZ)
    page.reload()
    expect(page.locator("#report-figures")).to_contain_text("fechado")
    expect(page.get_by_role("row").filter(has_text="Maria Clara")).to_contain_text("R$ 95,00")


def test_every_tab_has_its_lines_and_its_file(visits: Visits, boss: User) -> None:
    page = visits.signed_in(boss, "/admin/reports")
    for tab, first, sign in (("Clientes", "João & Filhos", "4,00"), ("Provedores", "Smartproxy Brasil", "5,00"),
                             ("Chips", "Suporte", "4,00")):  # fmt: skip
        page.get_by_role("navigation", name="Relatórios").get_by_role("link", name=tab, exact=True).click()
        expect(page.get_by_role("row").filter(has_text=first)).to_contain_text(sign)
        with page.expect_download() as download:
            page.get_by_role("link", name="CSV").click()
        text = Path(download.value.path()).read_text(encoding="utf-8-sig")
        found = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=";"))
        assert any(first in one.values() for one in found)
        assert any(sign in one.values() for one in found)


def test_a_prepared_report_is_found_again_after_a_reload(visits: Visits, boss: User, tools: Tools) -> None:
    page = visits.signed_in(boss, "/admin/reports?tab=files")
    page.get_by_label("Relatório", exact=True).select_option("prices")
    page.get_by_role("button", name="Preparar").click()
    entry = page.locator("#files li[aria-current]")
    expect(entry).to_contain_text("Aguarda o worker")
    claimed = claim_report(now=clock.now())
    assert claimed is not None
    report_progress(claimed.run_id, rows_done=1, rows_total=2)
    expect(entry.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    page.reload()
    expect(entry.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "50")
    expect(page.get_by_label("Relatório", exact=True)).to_be_visible()
    make_reports(tools, clock.now())  # the worker was killed: the next one begins it again
    expect(entry).to_contain_text("Pronto")
    with page.expect_download() as download:
        entry.get_by_role("link", name="Baixar").click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert len(list(csv.DictReader(io.StringIO(text, newline=""), delimiter=";"))) == 2


def test_one_that_is_no_longer_wanted_is_cancelled(visits: Visits, boss: User, tools: Tools) -> None:
    page = visits.signed_in(boss, "/admin/reports?tab=files")
    page.get_by_role("button", name="Preparar").click()
    entry = page.locator("#files li[aria-current]")
    entry.get_by_role("button", name="Cancelar").click()
    expect(entry).to_contain_text("Cancelado")
    assert make_reports(tools, clock.now()) == {"made": 0}
    expect(entry.get_by_role("button")).to_have_count(0)


@pytest.mark.parametrize(("locale", "title"), [("pt-BR", "Relatório de"), ("en-US", "Report for")])
def test_the_month_on_paper_has_no_menu_and_no_buttons(visits: Visits, boss: User, locale: str, title: str) -> None:
    page = visits.signed_in(boss, "/admin/reports/print", locale=locale, color_scheme="dark")
    expect(page.get_by_role("heading", level=1)).to_contain_text(title)
    page.evaluate("window.print = () => { document.title = 'printed' }")
    page.locator("[data-print]").click()
    expect(page).to_have_title("printed")
    page.emulate_media(media="print")
    expect(page.locator(".paper-tools")).to_be_hidden()
    expect(page.get_by_role("navigation")).to_have_count(0)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('.paper td')).color") == "rgb(0, 0, 0)"
    expect(page.get_by_role("row").filter(has_text="Maria Clara")).to_be_visible()
