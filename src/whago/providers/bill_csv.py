"""A vendor's bill as CSV: which column is the day, which ones are bytes, and in what unit. Pure.

Commas, semicolons and tabs separate; numbers may be written 1234.56, 1,234.56 or 1.234,56; days 2026-11-24 (with a time
behind it, or slashes) or 24/11/2026. Rows of one day add up, as bills per hour or per sub-account have it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Final

ROWS_MAX: Final = 100_000  # a year by the hour has 8,760
CHARS_MAX: Final = 10_000_000
UNITS: Final[Mapping[str, int]] = MappingProxyType(
    {"B": 1, "KB": 10**3, "KiB": 2**10, "MB": 10**6, "MiB": 2**20, "GB": 10**9, "GiB": 2**30}
)
DAY_NAMES: Final = ("date", "day", "data", "dia", "time", "timestamp", "datetime", "period")
BYTE_WORDS: Final = ("total", "bytes", "traffic", "usage", "bandwidth", "flow", "gb", "mb", "kb", "consumo", "tráfego")

_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_ISO: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ].*)?")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[./-](\d{1,2})[./-](\d{4})(?:[T ].*)?")


class BillUnreadable(Exception):
    """``field`` is the form's field that is to blame; the message says what would be right."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True, slots=True)
class BadRow:
    """``number`` counts lines from 1, the heading included."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Bill:
    """Bytes per day. ``resolution_bytes``: the step in which it counts, by the finest number in it."""

    days: Mapping[date, int]
    bad_rows: Sequence[BadRow]
    resolution_bytes: int
    day_column: str
    byte_columns: Sequence[str]


def read_bill(text: str, *, unit: str, day_column: str | None = None, byte_columns: Sequence[str] = ()) -> Bill:
    """Columns that are not named are guessed from the heading. Raises BillUnreadable."""
    if unit not in UNITS:
        raise BillUnreadable("unit", "The unit is one of B, KB, KiB, MB, MiB, GB and GiB.")
    if len(text) > CHARS_MAX:
        raise BillUnreadable("text", "The file is too large. Import one month at a time.")
    rows = list(_rows(text.lstrip("\ufeff")))
    if len(rows) < 2:
        raise BillUnreadable("text", "The file has no heading with rows below it.")
    heading = [name.strip() for name in rows[0][1]]
    day_at = _find_day(heading, day_column)
    bytes_at = _find_bytes(heading, byte_columns, day_at)
    days: dict[date, int] = {}
    bad: list[BadRow] = []
    places = 0
    for number, row in rows[1:]:
        try:
            day = _day(row[day_at])
            amounts = [_amount(row[place]) for place in bytes_at]
        except (IndexError, ValueError) as error:
            bad.append(BadRow(number, str(error) if isinstance(error, ValueError) else "The row has too few columns."))
            continue
        days[day] = days.get(day, 0) + int(sum(amounts) * UNITS[unit])
        places = max(places, *map(_places, amounts))
    if not days:
        raise BillUnreadable("text", "No row has a day and a number of bytes.")
    step = max(1, UNITS[unit] // 10**places)
    return Bill(days, bad, step, heading[day_at], [heading[place] for place in bytes_at])


def _rows(text: str) -> list[tuple[int, list[str]]]:
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    found: list[tuple[int, list[str]]] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((reader.line_num, row))
            if len(found) > ROWS_MAX:
                raise BillUnreadable("text", "The file is too large. Import one month at a time.")
    except csv.Error as error:
        raise BillUnreadable("text", "The file is not CSV.") from error
    return found


def _find_day(heading: Sequence[str], wanted: str | None) -> int:
    lowered = [name.lower() for name in heading]
    if wanted:
        if wanted.strip().lower() not in lowered:
            raise BillUnreadable("day_column", "No column of the heading has this name.")
        return lowered.index(wanted.strip().lower())
    for place, name in enumerate(lowered):
        if any(name == known or name.startswith(known + " ") for known in DAY_NAMES):
            return place
    raise BillUnreadable("day_column", "Say which column is the day: the heading does not tell.")


def _find_bytes(heading: Sequence[str], wanted: Sequence[str], day_at: int) -> list[int]:
    lowered = [name.lower() for name in heading]
    if wanted:
        names = [name.strip().lower() for name in wanted]
        if any(name not in lowered for name in names):
            raise BillUnreadable("byte_columns", "No column of the heading has this name.")
        return [lowered.index(name) for name in names]
    for word in BYTE_WORDS:
        for place, name in enumerate(lowered):
            if place != day_at and word in name:
                return [place]
    raise BillUnreadable("byte_columns", "Say which columns are bytes: the heading does not tell.")


def _day(text: str) -> date:
    cell = text.strip()
    if iso := _ISO.fullmatch(cell):
        year, month, day = (int(part) for part in iso.groups())
    elif day_first := _DAY_FIRST.fullmatch(cell):
        day, month, year = (int(part) for part in day_first.groups())
    else:
        raise ValueError("The day is not written 2026-11-24 or 24/11/2026.")
    try:
        return date(year, month, day)
    except ValueError:
        raise ValueError("There is no such day.") from None


def _amount(text: str) -> Decimal:
    """A single sign before three digits (1.234 or 1,234) is a decimal sign: bills of small amounts have no groups."""
    cell = text.strip().replace("\u00a0", "").replace(" ", "")
    if cell == "":
        return Decimal(0)
    comma, dot = cell.rfind(","), cell.rfind(".")
    if comma >= 0 and dot >= 0:
        groups, point = (".", ",") if comma > dot else (",", ".")
        cell = cell.replace(groups, "").replace(point, ".")
    elif cell.count(",") > 1 or cell.count(".") > 1:
        cell = cell.replace(",", "").replace(".", "")
    else:
        cell = cell.replace(",", ".")
    if not _NUMBER.fullmatch(cell):
        raise ValueError("A number of bytes cannot be read.")
    return Decimal(cell)


def _places(amount: Decimal) -> int:
    exponent = amount.as_tuple().exponent
    return -exponent if isinstance(exponent, int) and exponent < 0 else 0
