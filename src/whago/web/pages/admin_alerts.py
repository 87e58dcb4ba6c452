"""Alerts for administrators: what is wrong now, what was, and who looks after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Query
from fastapi.responses import Response

from whago.domain.queries.alerts import AlertView, list_alerts
from whago.domain.queries.paging import DEFAULT_LIMIT
from whago.domain.rules.alert_kinds import ALERT_KINDS
from whago.domain.rules.notices import RECOVERED
from whago.notify.wording import notice_text
from whago.web.api.fields import Cursor
from whago.web.pages.admin_overview import PLACES
from whago.web.pages.channels import KINDS
from whago.web.pages.labels import N_
from whago.web.pages.listing import address, next_page
from whago.web.pages.rendering import LookPage, Page

PATH: Final = "/admin/alerts"
STATES: Final = {"open": N_("Open"), "cleared": N_("Over"), "all": N_("All")}
SEVERITIES: Final = {"error": N_("Error"), "warning": N_("Warning"), "info": N_("Notice")}
TONES: Final = {"error": "red", "warning": "yellow", "info": "blue"}

router = APIRouter(prefix=PATH)
Filter = Annotated[str, Query(max_length=40)]


@dataclass(frozen=True, slots=True)
class ToldAlert:
    """``place``: where something can be done about it."""

    one: AlertView
    title: str
    message: str
    place: str | None


@router.get("")
def alerts_page(
    page: LookPage, state: Filter = "open", kind: Filter = "", severity: Filter = "", cursor: Cursor = None
) -> Response:
    """The list, or for htmx its rows alone. A filter that does not exist counts as none."""
    state = state if state in STATES else "open"
    kind = kind if kind in ALERT_KINDS else ""
    severity = severity if severity in SEVERITIES else ""
    found = list_alerts(
        is_open=None if state == "all" else state == "open",
        kind=kind or None,
        severity=severity or None,
        limit=DEFAULT_LIMIT,
        cursor=cursor,
    )
    filters = {"state": state if state != "open" else None, "kind": kind, "severity": severity}
    return page.draw(
        "admin/_alerts.html" if page.is_fragment else "admin/alerts.html",
        alerts=[_told(one, page) for one in found.items],
        state=state,
        kind=kind,
        severity=severity,
        states=STATES,
        kinds={code: KINDS[code] for code in ALERT_KINDS},
        severities=SEVERITIES,
        tones=TONES,
        here=address(PATH, {**filters, "cursor": cursor}),
        next_href=next_page(PATH, filters, found.next_cursor),
        first_href=address(PATH, filters) if cursor else None,
    )


def _told(one: AlertView, page: Page) -> ToldAlert:
    level = one.severity if one.cleared_at is None else RECOVERED
    title, message = notice_text(one.kind, level, one.data, page.translate, page.formats.tz)
    return ToldAlert(one, title, message, PLACES.get(one.kind))
