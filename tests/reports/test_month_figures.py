"""The figures of a month: what was used, at which prices, what is left of the plans, and how it goes on."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Numeric, literal, select

from tests.factories import TZ, make_user
from tests.reports.ground import AFTER, IN_NOVEMBER, IN_OCTOBER, MB, NOVEMBER, OCTOBER, Ground, execute
from whago.domain.actions.month_closing import close_month
from whago.domain.queries import report_files
from whago.domain.queries.report_files import report_csv
from whago.domain.queries.reports import (
    Reporting,
    chip_lines,
    customer_lines,
    half_even,
    line_count,
    month_overview,
    price_lines,
    provider_lines,
    report_months,
)
from whago.kit import db
from whago.kit.money import cents

ENDED = Reporting(OCTOBER, AFTER, TZ)


@pytest.fixture
def ground(database: str) -> Ground:
    made = Ground()
    made.october()
    return made


def money(text: str) -> Decimal:
    return Decimal(text)


def test_each_customer_has_cost_and_margin_against_the_plan(ground: Ground) -> None:
    bia, ana = customer_lines(ENDED, limit=10, cursor=None).items
    assert (bia.name, bia.plan, bia.plan_price, bia.bytes_used) == ("Bia", "Enterprise", 297, 300 * MB)
    assert (bia.cost, bia.billed_cost, bia.margin) == (money("6"), money("6.00"), money("291.00"))
    assert (ana.name, ana.cost, ana.margin, ana.margin_percent) == (
        "Ana", money("3.52"), money("93.48"), money("96.4"),
    )  # fmt: skip
    assert (ana.projected_cost, ana.projected_margin) == (ana.billed_cost, ana.margin)


def test_a_customer_without_usage_pays_the_plan_all_the_same(ground: Ground) -> None:
    quiet = make_user("business", name="Quiet", created_at=IN_OCTOBER)
    make_user("business", name="Later", created_at=AFTER)  # was not there yet
    make_user("business", name="Admin", role="admin", created_at=IN_OCTOBER)
    lines = {line.name: line for line in customer_lines(ENDED, limit=10, cursor=None).items}
    assert set(lines) == {"Ana", "Bia", "Quiet"}
    assert (lines["Quiet"].bytes_used, lines["Quiet"].margin) == (0, 97)
    assert month_overview(ENDED).revenue == 97 + 97 + 297
    execute("UPDATE users SET is_active = false WHERE id = :id", id=quiet.id)
    assert month_overview(ENDED).revenue == 97 + 297


def test_prices_are_those_of_the_moment_when_the_bytes_flowed(ground: Ground) -> None:
    execute("UPDATE proxy_providers SET cost_per_gb = 99")
    cheap, dear = sorted(provider_lines(ENDED), key=lambda line: line.cost_per_gb)
    assert (cheap.cost_per_gb, cheap.bytes_used, cheap.cost, cheap.chips, cheap.customers) == (
        20, 401 * MB, money("8.02"), 3, 2,
    )  # fmt: skip
    assert (dear.cost_per_gb, dear.bytes_used, dear.cost, dear.chips, dear.customers) == (
        30, 50 * MB, money("1.50"), 1, 1,
    )  # fmt: skip
    assert dear.effective_from == IN_OCTOBER + timedelta(days=1)
    parts = price_lines(ENDED, limit=10, cursor=None).items
    assert sorted((one.alias, one.cost_per_gb, one.bytes_used, one.cost) for one in parts) == [
        ("a1", 20, 100 * MB, money("2")),
        ("a1", 30, 50 * MB, money("1.5")),
        ("a2", 20, 1 * MB, money("0.02")),
        ("b1", 20, 300 * MB, money("6")),
    ]


def test_each_chip_has_its_cost_also_when_it_is_gone(ground: Ground) -> None:
    execute("UPDATE chips SET deleted_at = now() WHERE alias = 'a1'")
    lines = chip_lines(ENDED, limit=10, cursor=None).items
    assert [(one.alias, one.customer, one.bytes_used, one.cost) for one in lines] == [
        ("b1", "Bia", 300 * MB, money("6")),
        ("a1", "Ana", 150 * MB, money("3.5")),
        ("a2", "Ana", 1 * MB, money("0.02")),
    ]


def test_the_overview_is_the_sum_of_the_lines(ground: Ground) -> None:
    execute(
        "INSERT INTO proxy_probe_days (day, provider_id, purpose, probes, bytes, cost)"
        " VALUES (:day, :provider, 'health', 3, 4000, 0.08), (:next, :provider, 'health', 3, 9, 9)",
        day=OCTOBER, next=NOVEMBER, provider=ground.cheap.id,
    )  # fmt: skip
    overview = month_overview(ENDED)
    assert (overview.customers, overview.customers_with_usage, overview.chips) == (2, 2, 3)
    assert (overview.bytes_used, overview.cost, overview.billed_cost) == (451 * MB, money("9.52"), money("9.52"))
    assert (overview.revenue, overview.margin, overview.margin_percent) == (394, money("384.48"), money("97.6"))
    assert (overview.house_bytes, overview.house_cost, overview.result) == (4000, money("0.08"), money("384.40"))
    assert (overview.passed, overview.projected_cost, overview.projected_margin) == (
        None, money("9.52"), money("384.48"),
    )  # fmt: skip


def test_each_customer_is_rounded_once_and_the_sum_is_that_of_the_bills(ground: Ground) -> None:
    """Twice 0.005 exact: nobody is billed anything of it, and the overview does not invent a cent."""
    execute("UPDATE user_proxy_costs SET total_cost = 0.005 WHERE month_year = :m", m=OCTOBER)
    lines = customer_lines(ENDED, limit=10, cursor=None).items
    assert [one.billed_cost for one in lines] == [0, 0]
    overview = month_overview(ENDED)
    assert (overview.cost, overview.billed_cost, overview.margin) == (money("0.01"), 0, 394)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.decimals(min_value=0, max_value=10**6, places=4), st.booleans())
def test_the_database_rounds_as_the_product_does(database: str, amount: Decimal, tie: bool) -> None:
    exact = amount.quantize(Decimal("0.01")) + Decimal("0.005") if tie else amount
    with db.transaction() as tx:
        rounded = tx.scalar(select(half_even(literal(exact, Numeric(30, 15)))))
    assert rounded == cents(exact)


def test_the_running_month_is_projected_to_its_end(ground: Ground) -> None:
    ground.use("b1", 29 * MB, IN_NOVEMBER)
    running = Reporting(NOVEMBER, IN_NOVEMBER, TZ)
    overview = month_overview(running)
    assert overview.passed is not None
    assert round(overview.passed * 30 * 24, 20) == 14 * 24 + 12  # noon of the 15th where it is billed
    (bia, ana) = customer_lines(running, limit=10, cursor=None).items
    assert (bia.projected_bytes, bia.projected_cost) == (60 * MB, money("1.20"))
    assert (bia.margin, bia.projected_margin) == (money("296.42"), money("295.80"))
    assert (ana.projected_bytes, ana.projected_cost) == (0, 0)
    assert (overview.projected_cost, overview.projected_margin) == (money("1.20"), money("392.80"))


def test_a_closed_month_keeps_plan_and_price_whatever_changes_later(ground: Ground) -> None:
    quiet = make_user("business", name="Quiet", created_at=IN_OCTOBER)
    before = month_overview(ENDED)
    assert close_month(OCTOBER, now=AFTER, tz=TZ) == 3
    assert close_month(OCTOBER, now=AFTER, tz=TZ) == 0
    execute("UPDATE plans SET price = price * 2, name = 'New name'")
    execute("UPDATE users SET plan_id = NULL WHERE id = :id", id=ground.ana.id)
    execute("UPDATE users SET deleted_at = now() WHERE id = :id", id=quiet.id)
    make_user("enterprise", name="Newcomer", created_at=IN_OCTOBER)  # as if the clock had been wrong
    lines = {line.name: line for line in customer_lines(ENDED, limit=10, cursor=None).items}
    assert {name: (line.plan, line.plan_price, line.is_final) for name, line in lines.items()} == {
        "Ana": ("Business", 97, True),
        "Bia": ("Enterprise", 297, True),
        "Quiet": ("Business", 97, True),
    }
    after = month_overview(ENDED)
    assert (after.revenue, after.margin, after.closed_at) == (before.revenue, before.margin, AFTER)


def test_usage_that_comes_after_the_closing_is_in_the_month_it_flowed_in(ground: Ground) -> None:
    close_month(OCTOBER, now=AFTER, tz=TZ)
    ground.use("a2", 50 * MB, IN_OCTOBER, now=AFTER)
    lines = {line.name: line for line in customer_lines(ENDED, limit=10, cursor=None).items}
    assert (lines["Ana"].cost, lines["Ana"].margin) == (money("4.52"), money("92.48"))


@pytest.mark.parametrize("by_name", [False, True])
def test_pages_hold_every_line_once(ground: Ground, by_name: bool) -> None:
    for number in range(5):
        make_user("free", name=f"Same name {number % 2}", created_at=IN_OCTOBER)
    for ask in (customer_lines, chip_lines):
        whole = ask(ENDED, limit=50, cursor=None, by_name=by_name).items
        found, cursor = [], None
        while True:
            page = ask(ENDED, limit=2, cursor=cursor, by_name=by_name)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == list(whole)


def test_files_hold_every_line(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "LINES_PER_PAGE", 1)
    for kind, lines in {"customers": 2, "chips": 3, "prices": 4, "providers": 2}.items():
        pieces = list(report_csv(kind, ENDED))
        rows = list(csv.DictReader(io.StringIO("".join(text for _count, text in pieces), newline="")))
        assert len(rows) == sum(count for count, _text in pieces) == line_count(kind, ENDED) == lines
        assert sum(int(row["bytes_used"]) for row in rows) == 451 * MB
        assert sum(Decimal(row["cost"]) for row in rows) == money("9.52")


def test_a_name_that_is_a_formula_is_harmless_in_the_file(ground: Ground) -> None:
    execute("UPDATE users SET name = :name WHERE id = :id", name='=HYPERLINK("http://x","y")', id=ground.ana.id)
    text = "".join(text for _count, text in report_csv("customers", ENDED, language="pt-BR", say=str))
    assert text.startswith("\ufeff")
    rows = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=";"))
    assert {row["Customer"] for row in rows} == {'\'=HYPERLINK("http://x","y")', "Bia"}
    assert {row["Cost (BRL)"] for row in rows} == {"3,52", "6,00"}


def test_the_chooser_has_the_months_with_usage(ground: Ground) -> None:
    ground.use("a1", 1, IN_NOVEMBER)
    close_month(OCTOBER.replace(month=9), now=AFTER, tz=TZ)  # nobody used anything
    assert report_months() == [NOVEMBER, OCTOBER]
