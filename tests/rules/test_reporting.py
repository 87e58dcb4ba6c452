"""What reports derive, and how their files keep spreadsheets from running anything."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.report_tables import TABLES, heads
from whago.domain.rules.reporting import billed, margin, margin_percent, projected, share_passed
from whago.kit.csv_text import FOR_PROGRAMS, FORMULA_SIGNS, csv_text, sheet_style

TZ = ZoneInfo("America/Sao_Paulo")
NOVEMBER = date(2026, 11, 1)


def test_a_month_rounds_once_to_cents_half_to_even() -> None:
    assert [billed(Decimal(text)) for text in ("0.005", "0.015", "3.519999999999999", "0.0050000000001")] == [
        Decimal("0.00"), Decimal("0.02"), Decimal("3.52"), Decimal("0.01"),
    ]  # fmt: skip


def test_the_margin_is_the_price_less_what_is_billed() -> None:
    assert margin(Decimal("97.00"), Decimal("3.5249999")) == Decimal("93.48")
    assert margin_percent(Decimal("97.00"), Decimal("3.52")) == Decimal("96.4")
    assert margin(Decimal("10.00"), Decimal("12.5")) == Decimal("-2.50")
    assert margin_percent(Decimal(0), Decimal("3.52")) is None


def test_the_projection_goes_on_as_so_far() -> None:
    half = share_passed(NOVEMBER, now=datetime(2026, 11, 16, 3, tzinfo=UTC), tz=TZ)
    assert half == Decimal("0.5")
    assert projected(Decimal(7), half) == Decimal(14)


def test_the_first_day_counts_as_a_whole_one_and_other_months_have_none() -> None:
    early = share_passed(NOVEMBER, now=datetime(2026, 11, 1, 3, 5, tzinfo=UTC), tz=TZ)
    assert early is not None
    assert projected(Decimal(1), early) == Decimal(30)
    assert share_passed(NOVEMBER, now=datetime(2026, 12, 1, 3, tzinfo=UTC), tz=TZ) is None
    assert projected(Decimal(7), None) == Decimal(7)


@pytest.mark.parametrize("sign", [*FORMULA_SIGNS, " =", "\u00a0@", "\n=", "＝1+1"])
def test_no_text_begins_a_formula(sign: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(csv_text([[f"{sign}cmd|' /C calc'!A0"]], FOR_PROGRAMS), newline=""))
    assert cell == f"'{sign}cmd|' /C calc'!A0"


def test_numbers_of_ours_keep_their_minus() -> None:
    row = [Decimal("-2.500000"), -3, None, "-2"]
    assert csv_text([row], FOR_PROGRAMS) == "-2.50,-3,,'-2\r\n"
    assert csv_text([row], sheet_style("pt-BR")) == "-2,50;-3;;'-2\r\n"
    assert csv_text([row], sheet_style("en")) == csv_text([row], FOR_PROGRAMS)


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=1)))
def test_whatever_stands_in_a_cell_stays_in_it(rows: list[list[str]]) -> None:
    for style in (FOR_PROGRAMS, sheet_style("pt-BR")):
        back = list(csv.reader(io.StringIO(csv_text(rows, style), newline=""), delimiter=style.delimiter))
        assert [[cell.removeprefix("'") for cell in row] for row in back] == [
            [cell.removeprefix("'") for cell in row] for row in rows
        ]


def test_heads_are_names_for_programs_and_titles_for_people() -> None:
    for columns in TABLES.values():
        names = heads(columns, None)
        assert len(set(names)) == len(names)
        assert all(name.isidentifier() for name in names)
        assert heads(columns, str.upper) == [column.title.upper() for column in columns]
