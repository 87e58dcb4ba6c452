"""Reports as CSV, a page of lines at a time: neither memory nor a snapshot grows with the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from whago.domain.queries.paging import Page
from whago.domain.queries.reports import Reporting, chip_lines, customer_lines, price_lines, provider_lines
from whago.domain.rules.report_tables import TABLES, Column, cells, heads
from whago.kit.csv_text import BYTE_ORDER_MARK, FOR_PROGRAMS, csv_text, sheet_style

LINES_PER_PAGE: Final = 1_000  # a tenth of a second, and well below a megabyte

Say = Callable[[str], str]
Pages = Callable[[str | None], Page[Any]]


def report_csv(
    kind: str, asked: Reporting, *, language: str | None = None, say: Say | None = None
) -> Iterator[tuple[int, str]]:
    """Pieces of the file and how many lines each holds; the first holds none, only the heads.

    For programs, or with ``language`` and ``say`` for that language's spreadsheets. ``kind`` is a key of ``TABLES``.
    """
    return csv_pieces(TABLES[kind], _pages(kind, asked), language=language, say=say)


def csv_pieces(
    columns: Sequence[Column], pages: Pages, *, language: str | None = None, say: Say | None = None
) -> Iterator[tuple[int, str]]:
    """The same for any lines that come in pages."""
    style = FOR_PROGRAMS if language is None else sheet_style(language)
    mark = "" if language is None else BYTE_ORDER_MARK
    yield 0, mark + csv_text([heads(columns, say)], style)
    cursor: str | None = None
    while True:
        page = pages(cursor)
        yield len(page.items), csv_text([cells(columns, line) for line in page.items], style)
        cursor = page.next_cursor
        if cursor is None:
            return


def _pages(kind: str, asked: Reporting) -> Pages:
    if kind == "providers":
        return lambda _cursor: Page(provider_lines(asked), None)
    found: dict[str, Callable[[str | None], Page[Any]]] = {
        "customers": lambda cursor: customer_lines(asked, limit=LINES_PER_PAGE, cursor=cursor, by_name=True),
        "chips": lambda cursor: chip_lines(asked, limit=LINES_PER_PAGE, cursor=cursor, by_name=True),
        "prices": lambda cursor: price_lines(asked, limit=LINES_PER_PAGE, cursor=cursor),
    }
    return found[kind]
