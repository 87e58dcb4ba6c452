"""Bills as vendors export them."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.providers.bill_csv import UNITS, Bill, BillUnreadable, read_bill

D13, D14 = date(2026, 11, 13), date(2026, 11, 14)


def refused(text: str, **changed: object) -> BillUnreadable:
    with pytest.raises(BillUnreadable) as caught:
        read_bill(text, **({"unit": "B"} | changed))  # type: ignore[arg-type]
    return caught.value


def test_columns_are_guessed_from_the_heading() -> None:
    bill = read_bill("Date,Requests,Traffic (bytes)\n2026-11-13,5,1000\n2026-11-14,7,2000\n", unit="B")
    assert bill == Bill({D13: 1000, D14: 2000}, [], 1, "Date", ["Traffic (bytes)"])


def test_a_brazilian_export_with_semicolons_and_commas() -> None:
    bill = read_bill("\ufeffDia;Consumo (GB)\r\n13/11/2026;1,5\r\n14/11/2026;1.234,75\r\n", unit="GB")
    assert bill.days == {D13: 1_500_000_000, D14: 1_234_750_000_000}
    assert bill.resolution_bytes == 10_000_000


def test_several_columns_and_rows_of_a_day_add_up() -> None:
    text = "time\tup\tdown\n2026-11-13 00:00\t1\t10\n2026-11-13T01:00:00Z\t2\t20\n2026/11/14\t3\t30\n"
    bill = read_bill(text, unit="KiB", byte_columns=["down", "Up"])
    assert bill.days == {D13: 33 * 1024, D14: 33 * 1024}


@pytest.mark.parametrize(
    ("cell", "count"),
    [
        ("1234", 1234),
        ("1,234.5", 1234),
        ("1.234,5", 1234),
        ("1.234.567", 1_234_567),
        ("1,234,567", 1_234_567),
        ("", 0),
        (" 7 ", 7),
    ],
)
def test_numbers_are_read_as_people_write_them(cell: str, count: int) -> None:
    assert read_bill(f'day;bytes\n2026-11-13;"{cell}"\n2026-11-14;1\n', unit="B").days[D13] == count


def test_bad_rows_are_told_by_number_and_the_rest_is_kept() -> None:
    bill = read_bill("day,bytes\nTotal,3\n2026-11-13,10\n2026-11-14,many\n2026-11-31,1\n\n2026-11-14\n", unit="B")
    assert bill.days == {D13: 10}
    assert [row.number for row in bill.bad_rows] == [2, 4, 5, 7]


@pytest.mark.parametrize(
    ("text", "changed", "field"),
    [
        ("", {}, "text"),
        ("day,bytes\n", {}, "text"),
        ("day,bytes\nTotal,3\n", {}, "text"),
        ("when,bytes\n2026-11-13,1\n", {}, "day_column"),
        ("day,bytes\n2026-11-13,1\n", {"day_column": "Tag"}, "day_column"),
        ("day,count\n2026-11-13,1\n", {}, "byte_columns"),
        ("day,bytes\n2026-11-13,1\n", {"byte_columns": ["up"]}, "byte_columns"),
        ("day,bytes\n2026-11-13,1\n", {"unit": "bytes"}, "unit"),
    ],
)
def test_a_bill_that_cannot_be_read_is_refused_by_field(text: str, changed: dict[str, object], field: str) -> None:
    assert refused(text, **changed).field == field


@given(amounts=st.lists(st.integers(0, 10**15), min_size=1, max_size=20), unit=st.sampled_from(sorted(UNITS)))
def test_whole_amounts_survive_to_the_byte(amounts: list[int], unit: str) -> None:
    text = "day,bytes\n" + "".join(f"2026-11-13,{amount}\n" for amount in amounts)
    assert read_bill(text, unit=unit).days == {D13: sum(amounts) * UNITS[unit]}


@given(st.text())
def test_nothing_that_is_uploaded_breaks_it(text: str) -> None:
    with suppress(BillUnreadable):
        read_bill(text, unit="B")
