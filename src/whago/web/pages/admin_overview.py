"""The administrators' first page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from whago.domain.queries.overview import OpenAlert, Overview, overview
from whago.domain.rules.pricing import GB
from whago.notify.wording import notice_text
from whago.web.deps import Zone
from whago.web.pages.rendering import LookPage, Page
from whago.web.pages.series import ALL_SPLITS, SeriesBy, chosen_by, last_days
from whago.web.pages.throughput import SEEN_MAX_CHARS, throughput

PATH: Final = "/admin"
ALERTS: Final = f"{PATH}/alerts"
POOL: Final = f"{PATH}/proxies?tab=pool"
SYSTEM: Final = f"{PATH}/system"
PLACES: Final[Mapping[str, str]] = {  # where an administrator does something about a kind of alert
    "provider_down": f"{PATH}/proxies",
    "provider_balance_low": f"{PATH}/proxies",
    "bill_mismatch": f"{PATH}/proxies?tab=stats",
    "proxy_ejected": POOL,
    "gateway_silent": SYSTEM,
    "bridge_silent": SYSTEM,
    "scheduler_silent": SYSTEM,
    "ledger_mismatch": SYSTEM,
}

router = APIRouter(prefix=PATH)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong, and where to look."""

    key: str
    level: str
    title: str
    text: str
    href: str
    since: datetime | None = None


@router.get("")
def overview_page(
    page: LookPage, tz: Zone, by: str = "", seen: Annotated[str, Query(max_length=SEEN_MAX_CHARS)] = ""
) -> Response:
    """The page, or for htmx its figures. ``seen``: the totals of the looks before, from which the throughput comes."""
    found = overview(now=page.now, tz=tz)
    facts: dict[str, Any] = {
        "overview": found,
        "living": found.living,
        "projected_bytes": round(found.projected_gb * GB),
        "flow": throughput(seen, page.now, found.bytes_ever),
        "problems": problems(page, found),
    }
    if page.is_fragment:
        return page.draw("admin/_overview.html", **facts)
    return page.draw("admin/overview.html", **facts, **_series(page, tz, chosen_by(by, ALL_SPLITS)))


@router.get("/series")
def series(page: LookPage, tz: Zone, by: str = "") -> Response:
    return page.draw("macros/_series.html", **_series(page, tz, chosen_by(by, ALL_SPLITS)))


def problems(page: Page, found: Overview) -> Sequence[Problem]:
    """What is broken now, the worst first: what was told as an alert, and what can be seen without one."""
    told = [_of_alert(page, one) for one in found.alerts]
    kinds = {one.kind for one in found.alerts}
    seen = [one for one in _seen(page, found) if one.key not in kinds]
    return sorted([*told, *seen], key=lambda one: one.level != "error")


def _of_alert(page: Page, one: OpenAlert) -> Problem:
    title, text = notice_text(one.kind, one.severity, one.data, page.translate, page.formats.tz)
    return Problem(f"alert-{one.id}", one.severity, title, text, PLACES.get(one.kind, ALERTS), one.raised_at)


def _seen(page: Page, found: Overview) -> Sequence[Problem]:
    say, many, living = page.translate, page.translate.many, found.living
    weak = living.proxies - living.proxies_healthy
    candidates = (
        (
            found.clocks_silent,
            Problem(
                "scheduler_silent",
                "error",
                say("The clocks stand still"),
                say("No worker has run a clock lately: nothing is checked and no notice is sent."),
                SYSTEM,
                living.last_beat,
            ),
        ),
        (
            not living.gateways,
            Problem("no_gateway", "error", say("No gateway reports"), say("No chip can connect now."), SYSTEM),
        ),
        (
            living.gateways > 0 and living.gateways_silent > 0,
            Problem(
                "gateway_silent",
                "error",
                many("{count} gateway is silent", "{count} gateways are silent", living.gateways_silent),
                say("It neither said goodbye nor reports. What it metered waits in its counter file."),
                SYSTEM,
            ),
        ),
        (
            living.chips_waiting > 0,
            Problem(
                "chips_waiting",
                "error",
                many("{count} chip waits for a proxy", "{count} chips wait for a proxy", living.chips_waiting),
                say("No healthy proxy has room for it. Add proxies, or raise the room of those that there are."),
                f"{PATH}/chips?status=waiting_proxy",
            ),
        ),
        (
            living.chips_failed > 0,
            Problem(
                "chips_failed",
                "warning",
                many("{count} chip has an error", "{count} chips have an error", living.chips_failed),
                say("Their pages say what the engine told."),
                f"{PATH}/chips?status=error",
            ),
        ),
        (
            weak > 0 and not any(one.kind == "proxy_ejected" for one in found.alerts),
            Problem(
                "proxies_weak",
                "warning",
                many("{count} proxy takes no chips", "{count} proxies take no chips", weak),
                say("Its health is too low. Test it, or wait until it recovers."),
                POOL,
            ),
        ),
    )
    return [problem for is_so, problem in candidates if is_so]


def _series(page: Page, tz: Zone, by: SeriesBy | None) -> dict[str, Any]:
    return last_days(None, now=page.now, tz=tz, by=by) | {
        "series_href": f"{PATH}/series",
        "series_page": PATH,
        "series_choices": ALL_SPLITS,
    }
