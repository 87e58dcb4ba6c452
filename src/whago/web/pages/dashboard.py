"""The customer's first page: the month's usage, its course, the chips and the latest notices."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from whago.domain.queries.chips import chip_counts, list_chips
from whago.domain.queries.notifications import notifications
from whago.domain.queries.usage import MonthUsage, usage_of_month
from whago.domain.rules.pricing import GB
from whago.web.deps import Month, Zone
from whago.web.pages.notices import told
from whago.web.pages.rendering import CustomerPage, Page
from whago.web.pages.series import SeriesBy, chosen_by, last_days

GLANCE_CHIPS: Final = 6  # as many as fit beside the widget without scrolling
GLANCE_NOTICES: Final = 5
YELLOW_FROM: Final = 70  # percent: blue below, yellow from here to
RED_ABOVE: Final = 90  # here, red above
SPLITS: Final[tuple[SeriesBy, ...]] = ("chip",)

router = APIRouter(prefix="/dashboard")


@router.get("")
def dashboard(page: CustomerPage, tz: Zone, month: Month, by: str = "") -> Response:
    return page.draw(
        "dashboard/page.html",
        **_usage(page, tz),
        **_aside(page, month),
        **_series(page, tz, by),
    )


@router.get("/usage")
def usage_widget(page: CustomerPage, tz: Zone) -> Response:
    """The widget alone, for its own refreshing."""
    return page.draw("dashboard/_usage.html", **_usage(page, tz))


@router.get("/aside")
def aside(page: CustomerPage, month: Month) -> Response:
    return page.draw("dashboard/_aside.html", **_aside(page, month))


@router.get("/series")
def series(page: CustomerPage, tz: Zone, by: str = "") -> Response:
    """The chart alone; ``by`` splits it by chip."""
    return page.draw("macros/_series.html", **_series(page, tz, by))


def tone_of(percentage_used: float) -> str:
    """The bar's colour: blue below 70 %, yellow from 70 to 90 %, red above."""
    if percentage_used > RED_ABOVE:
        return "red"
    return "yellow" if percentage_used >= YELLOW_FROM else "blue"


def _usage(page: Page, tz: Zone) -> dict[str, Any]:
    usage = usage_of_month(page.owner_id, now=page.now, tz=tz)
    return {
        "usage": usage,
        "tone": tone_of(usage.percentage_used),
        "projected_bytes": round(usage.projected_gb * GB),
        "projected_percent": _projected_percent(usage),
    }


def _projected_percent(usage: MonthUsage) -> float:
    return usage.projected_gb * GB * 100 / usage.limit_bytes if usage.limit_bytes else 0.0


def _series(page: Page, tz: Zone, by: str) -> dict[str, Any]:
    days = last_days(page.owner_id, now=page.now, tz=tz, by=chosen_by(by, SPLITS))
    return days | {"series_href": "/dashboard/series", "series_page": "/dashboard", "series_choices": SPLITS}


def _aside(page: Page, month: Month) -> dict[str, Any]:
    latest = notifications(page.owner_id, limit=GLANCE_NOTICES)
    return {
        "chips": list_chips(page.owner_id, month=month, limit=GLANCE_CHIPS).items,
        "total": sum(chip_counts(page.owner_id).values()),
        "notices": [told(one, page) for one in latest.items],
    }
