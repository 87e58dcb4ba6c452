"""The customer's months: what each came to, which chips made it, and the same as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from whago.domain.queries.months import ChipMonth, chips_of_month, used_months
from whago.domain.queries.paging import DEFAULT_LIMIT, MAX_LIMIT
from whago.domain.queries.usage import usage_of_month
from whago.domain.rules.pricing import GB
from whago.errors import WhagoError
from whago.kit.money import EXACT, plain
from whago.web.api.fields import Cursor
from whago.web.deps import Month, Zone
from whago.web.pages.listing import address, next_page
from whago.web.pages.rendering import CustomerPage, Page

PATH: Final = "/usage"
SORTS: Final = ("usage", "name")
MONTH_CHARS: Final = len("2026-11")
FORMULA_SIGNS: Final = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins so (CWE-1236)

router = APIRouter(prefix=PATH)

MonthName = Annotated[str, Query(max_length=MONTH_CHARS)]


@router.get("")
def usage_page(
    page: CustomerPage, running: Month, tz: Zone, month: MonthName = "", sort: str = "usage", cursor: Cursor = None
) -> Response:
    """One month's chips beside the course of all months; the running month when none is named."""
    chosen = month_named(month) or running
    sorted_by = sort if sort in SORTS else "usage"
    found = chips_of_month(page.owner_id, chosen, by_name=sorted_by == "name", limit=DEFAULT_LIMIT, cursor=cursor)
    filters = {"month": f"{chosen:%Y-%m}", "sort": sorted_by if sorted_by != "usage" else ""}
    months = used_months(page.owner_id)
    return page.draw(
        "usage/_month.html" if page.is_fragment else "usage/page.html",
        months=months,
        chosen=chosen,
        running=running,
        total=next((one for one in months if one.month == chosen), None),
        usage=usage_of_month(page.owner_id, now=page.now, tz=tz),
        chips=found.items,
        sort=sorted_by,
        here=address(PATH, {**filters, "cursor": cursor}),
        next_href=next_page(PATH, filters, found.next_cursor),
        first_href=address(PATH, filters) if cursor else None,
    )


@router.get("/{month}.csv")
def usage_file(month: str, page: CustomerPage) -> Response:
    """The month by chip, as a file that spreadsheets read. Amounts are exact, with a point, in every language."""
    chosen = month_named(month)
    if chosen is None:
        raise WhagoError("not_found")
    headers = {"Content-Disposition": f'attachment; filename="whago-{chosen:%Y-%m}.csv"'}
    return StreamingResponse(_lines(page, chosen), media_type="text/csv; charset=utf-8", headers=headers)


def month_named(text: str) -> date | None:
    """Day 1 of a month such as 2026-11; None for anything else."""
    try:
        return date.fromisoformat(f"{text}-01") if len(text) == MONTH_CHARS else None
    except ValueError:
        return None


def cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text


def _lines(page: Page, month: date) -> Iterator[str]:
    say = page.translate
    yield "\ufeff" + _line([say("Month"), "chip_id", say("Chip"), "bytes", "GB", say("Cost (BRL)")])
    cursor: str | None = None
    while True:
        found = chips_of_month(page.owner_id, month, limit=MAX_LIMIT, cursor=cursor)
        yield "".join(_line(_row(one, month)) for one in found.items)
        cursor = found.next_cursor
        if cursor is None:
            return


def _row(one: ChipMonth, month: date) -> list[str]:
    gigabytes = EXACT.divide(one.bytes_used, GB)
    return [
        f"{month:%Y-%m}",
        str(one.chip_id),
        cell(one.alias),
        str(one.bytes_used),
        f"{gigabytes:f}",
        plain(one.cost),
    ]


def _line(cells: list[str]) -> str:
    sheet = io.StringIO()
    csv.writer(sheet).writerow(cells)
    return sheet.getvalue()
