"""Notifications of the caller, told in the caller's language."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from pydantic import Field

from whago.domain.actions.notifications import mark_read
from whago.domain.queries.notifications import NotificationView, notifications, unread_count
from whago.notify.wording import notice_text
from whago.web.api.fields import PAGE, Answer, Body, Cursor, Limit, ListAnswer, Moment
from whago.web.deps import Now, ReaderZone, Translate, User
from whago.web.errors import problems
from whago.web.i18n import Translator

SIGNED_IN = ("not_authenticated", "account_suspended", "invalid_input", "unavailable")
MARKED_AT_ONCE = 200

router = APIRouter(prefix="/notifications", tags=["notifications"])


class NotificationAnswer(Answer):
    """``kind`` and ``data`` are for programs, ``title`` and ``message`` for people."""

    id: UUID
    kind: str
    level: Literal["info", "warning", "error", "success"]
    title: str
    message: str
    data: dict[str, Any]
    created_at: Moment
    read_at: Moment | None


class NotificationsAnswer(ListAnswer[NotificationAnswer]):
    unread_count: int


class MarkReadBody(Body):
    ids: Annotated[list[UUID], Field(min_length=1, max_length=MARKED_AT_ONCE)]


class MarkedAnswer(Answer):
    """How many were unread before."""

    marked: int


@router.get("", response_model=NotificationsAnswer, responses=problems(*SIGNED_IN))
def list_notifications(
    user: User,
    translate: Translate,
    tz: ReaderZone,
    unread_only: bool = False,
    limit: Limit = PAGE,
    cursor: Cursor = None,
) -> NotificationsAnswer:
    """Newest first."""
    page = notifications(user.id, unread_only=unread_only, limit=limit, cursor=cursor)
    return NotificationsAnswer(
        items=[told(one, translate, tz) for one in page.items],
        next_cursor=page.next_cursor,
        unread_count=unread_count(user.id),
    )


@router.post("/mark-read", response_model=MarkedAnswer, responses=problems(*SIGNED_IN, "csrf"))
def mark_some_read(body: MarkReadBody, user: User, now: Now) -> MarkedAnswer:
    """Marks the caller's notifications among these."""
    return MarkedAnswer(marked=mark_read(user.id, body.ids, now=now))


@router.post("/mark-all-read", response_model=MarkedAnswer, responses=problems(*SIGNED_IN, "csrf"))
def mark_all_read(user: User, now: Now) -> MarkedAnswer:
    """Marks all of the caller's notifications."""
    return MarkedAnswer(marked=mark_read(user.id, None, now=now))


def told(one: NotificationView, translate: Translator, tz: ZoneInfo) -> NotificationAnswer:
    """One notification with its text."""
    title, message = notice_text(one.kind, one.level, one.data, translate, tz)
    return NotificationAnswer(
        id=one.id,
        kind=one.kind,
        level=one.level,  # type: ignore[arg-type]  # the table checks it
        title=title,
        message=message,
        data=one.data,
        created_at=one.created_at,
        read_at=one.read_at,
    )
