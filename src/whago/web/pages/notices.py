"""Notifications as pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import Response

from whago.domain.queries.notifications import NotificationView, notifications
from whago.domain.queries.paging import DEFAULT_LIMIT
from whago.notify.wording import notice_text
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
    title, message = notice_text(one.kind, one.level, one.data, page.translate, page.formats.tz)
    return ToldNotice(one.id, one.level, title, message, one.created_at, one.read_at)
