"""The audit log: who did what to what, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from whago.domain.queries.audit import audit_log, audited_actions
from whago.web.api.fields import Cursor, Search
from whago.web.pages.listing import address, next_page
from whago.web.pages.rendering import LookPage

PATH: Final = "/admin/audit"
TARGETS: Final[Mapping[str, str]] = {  # where the target of an entry can be looked at
    "provider": "/admin/proxies",
    "proxy": "/admin/proxies?tab=pool",
    "user": "/admin/users",
    "plan": "/admin/plans",
    "chip": "/admin/chips",
}

router = APIRouter(prefix=PATH)


@router.get("")
def audit_page(page: LookPage, search: Search = None, action: Search = None, cursor: Cursor = None) -> Response:
    """Newest first; ``search`` looks into who did it and into what it was done to."""
    found = audit_log(action=action or None, search=search or None, cursor=cursor)
    filters = {"search": search or "", "action": action or ""}
    return page.draw(
        "admin/_audit.html" if page.is_fragment else "admin/audit.html",
        entries=found.items,
        actions=audited_actions(),
        filters=filters,
        details=details,
        targets=TARGETS,
        here=address(PATH, {**filters, "cursor": cursor}),
        next_href=next_page(PATH, filters, found.next_cursor),
        first_href=address(PATH, filters) if cursor else None,
    )


def details(content: Mapping[str, Any]) -> str:
    """``name: Smartproxy · changed: cost_per_gb, region``: what an entry says of itself, for reading."""
    told = [f"{key}: {_plain(value)}" for key, value in content.items() if value not in (None, "", [], {})]
    return " · ".join(told)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return str(value)
