"""Notifications as pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from whago.domain.queries.notifications import NotificationView, notifications
from whago.domain.queries.paging import DEFAULT_LIMIT
from whago.domain.rules.notices import notice_for
from whago.domain.rules.pricing import GB
from whago.web.api.fields import Cursor
from whago.web.pages.listing import next_page
from whago.web.pages.rendering import CustomerPage, Page

router = APIRouter()


@dataclass(frozen=True, slots=True)
class ToldNotice:
    id: UUID
    level: str
    title: str
    message: str
    created_at: datetime
    read_at: datetime | None


@router.get("/notifications")
def notifications_page(page: CustomerPage, cursor: Cursor = None) -> Response:
    found = notifications(page.owner_id, limit=DEFAULT_LIMIT, cursor=cursor)
    return page.draw(
        "notifications/page.html",
        notices=[told(one, page) for one in found.items],
        next_href=next_page("/notifications", {}, found.next_cursor),
        first_href="/notifications" if cursor else None,
    )


def told(one: NotificationView, page: Page) -> ToldNotice:
    """The notification in the reader's words, its amounts as the reader writes them."""
    notice, values = notice_for(one.kind, one.data), _values(one.data, page)
    say = page.translate
    return ToldNotice(
        one.id, one.level, say(notice.title, **values), say(notice.message, **values), one.created_at, one.read_at
    )


def _values(facts: dict[str, Any], page: Page) -> dict[str, Any]:
    shown = dict(facts)
    for name in ("used", "limit"):
        amount = facts.get(f"{name}_bytes")
        if isinstance(amount, int):
            shown[f"{name}_gb"] = page.formats.number(Decimal(amount) / GB, 3)
    if isinstance(facts.get("month"), str):
        shown["month"] = page.formats.month(date.fromisoformat(f"{facts['month']}-01"))
    return shown
