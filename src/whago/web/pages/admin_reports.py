"""What each month cost and left: by customer, provider and chip, as files, and on paper."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import Response

from whago.domain.queries.archives import archives
from whago.domain.queries.paging import DEFAULT_LIMIT
from whago.domain.queries.report_lines import ProviderLine
from whago.domain.queries.report_runs import report_runs
from whago.domain.queries.reports import (
    Reporting,
    chip_lines,
    customer_lines,
    month_overview,
    provider_lines,
    report_months,
)
from whago.web.api.fields import Cursor
from whago.web.deps import Month, Zone
from whago.web.pages.labels import N_
from whago.web.pages.listing import address, id_or_none, next_page
from whago.web.pages.rendering import CostsPage, Page
from whago.web.pages.usage import MonthName, month_named

PATH: Final = "/admin/reports"
PRINTED_MAX: Final = 1_000  # customers on paper: twenty-five pages; more is a file
TABS: Final[Mapping[str, str]] = {
    "customers": N_("Customers"),
    "providers": N_("Providers"),
    "chips": N_("Chips"),
    "files": N_("Files"),
}
KINDS: Final[Mapping[str, str]] = {
    "customers": N_("Customers"),
    "chips": N_("Chips"),
    "providers": N_("Providers"),
    "prices": N_("Chips by proxy and price"),
}
STATES: Final[Mapping[str, str]] = {
    "queued": N_("Waits for the worker"),
    "running": N_("In progress"),
    "done": N_("Ready"),
    "failed": N_("Failed"),
    "cancelled": N_("Cancelled"),
    "expired": N_("No longer kept"),
}
STATE_TONES: Final[Mapping[str, str]] = {
    "queued": "badge-yellow",
    "running": "badge-blue",
    "done": "badge-green",
    "failed": "badge-red",
}

router = APIRouter(prefix=PATH)

TabName = Annotated[str, Query(max_length=20)]
RunId = Annotated[str, Query(max_length=36)]


@router.get("")
def reports_page(
    page: CostsPage,
    running: Month,
    tz: Zone,
    month: MonthName = "",
    tab: TabName = "",
    run: RunId = "",
    cursor: Cursor = None,
) -> Response:
    """One month; the running one when none is named."""
    chosen = month_named(month) or running
    tab = tab if tab in TABS else "customers"
    asked = Reporting(chosen, page.now, tz)
    context = {"tab": tab, "tabs": TABS, **_month(asked, running), **_tab(page, asked, tab, cursor, run)}
    return page.draw("admin/reports.html", **context)


@router.get("/files")
def report_files(page: CostsPage, running: Month, month: MonthName = "", run: RunId = "") -> Response:
    """The prepared files alone, for their own refreshing."""
    return page.draw("admin/_report_files.html", **_files(page, month_named(month) or running, run))


@router.get("/print")
def printed_report(page: CostsPage, running: Month, tz: Zone, month: MonthName = "") -> Response:
    """The month on paper, with every customer."""
    asked = Reporting(month_named(month) or running, page.now, tz)
    found = customer_lines(asked, limit=PRINTED_MAX, cursor=None)
    return page.draw(
        "admin/report_print.html",
        overview=month_overview(asked),
        chosen=asked.month,
        customers=found.items,
        is_cut=found.next_cursor is not None,
        printed_max=PRINTED_MAX,
        providers=provider_lines(asked),
    )


def _month(asked: Reporting, running: date) -> dict[str, Any]:
    months = report_months()
    return {
        "chosen": asked.month,
        "running": running,
        "months": months if running in months else [running, *months],
        "overview": month_overview(asked),
    }


def _tab(page: Page, asked: Reporting, tab: str, cursor: str | None, run: str) -> dict[str, Any]:
    filters = {"month": f"{asked.month:%Y-%m}", "tab": tab}
    if tab == "files":
        return _files(page, asked.month, run) | {"archives": archives()}
    if tab == "providers":
        lines = provider_lines(asked)
        return {"lines": lines, "providers": _by_provider(lines)}
    ask = chip_lines if tab == "chips" else customer_lines
    found = ask(asked, limit=DEFAULT_LIMIT, cursor=cursor)
    return {
        "lines": found.items,
        "next_href": next_page(PATH, filters, found.next_cursor),
        "first_href": address(PATH, filters) if cursor else None,
    }


def _files(page: Page, month: date, run: str) -> dict[str, Any]:
    runs = report_runs(page.owner_id)
    shown: UUID | None = id_or_none(run)
    return {
        "chosen": month,
        "runs": runs,
        "shown": shown,
        "kinds": KINDS,
        "states": STATES,
        "state_tones": STATE_TONES,
        "here": address(f"{PATH}/files", {"month": f"{month:%Y-%m}", "run": run if shown else ""}),
        "is_busy": any(one.is_open for one in runs),
    }


def _by_provider(lines: list[ProviderLine]) -> dict[UUID, list[ProviderLine]]:
    """Each provider's prices together, in the order of the lines."""
    grouped: dict[UUID, list[ProviderLine]] = {}
    for line in lines:
        grouped.setdefault(line.provider_id, []).append(line)
    return grouped
