"""Tables as CSV text (RFC 4180) that spreadsheets open as they are meant."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from whago.kit.money import plain

Cell = str | int | Decimal | date | datetime | object | None

FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet takes a cell that begins so for a formula, or may (OWASP, "CSV Injection"; CWE-1236)."""
BYTE_ORDER_MARK: Final = "\ufeff"  # without it Excel reads UTF-8 as the machine's old code page


@dataclass(frozen=True, slots=True)
class CsvStyle:
    """``decimal_sign`` of amounts; the delimiter is another sign."""

    delimiter: str
    decimal_sign: str


FOR_PROGRAMS: Final = CsvStyle(",", ".")
_SHEETS: Final = {"pt": CsvStyle(";", ",")}  # what a Brazilian Excel expects; a comma there is a decimal sign


def sheet_style(language: str) -> CsvStyle:
    """What spreadsheets in this language (``pt-BR``, ``en``) open without an import dialog."""
    return _SHEETS.get(language.split("-")[0].lower(), FOR_PROGRAMS)


def csv_text(rows: Iterable[Sequence[Cell]], style: CsvStyle) -> str:
    """Lines that end in CR LF. Text is made harmless; numbers of ours may begin with a minus."""
    sheet = io.StringIO()
    writer = csv.writer(sheet, delimiter=style.delimiter, lineterminator="\r\n")
    writer.writerows([_cell(value, style) for value in row] for row in rows)
    return sheet.getvalue()


def harmless(text: str) -> str:
    """Text that no spreadsheet runs: an apostrophe before what it would take for a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) or text.lstrip().startswith(FORMULA_SIGNS) else text


def _cell(value: Cell, style: CsvStyle) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value).replace(".", style.decimal_sign)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, str):
        return harmless(value)
    return str(value)
