"""Notifications of a user, as the application shows them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from whago.domain.models import Notification
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_id, as_moment, page_of
from whago.kit.db import reading

NEWEST_FIRST = Order((Notification.created_at, Notification.id), (as_moment, as_id), descending=True)


@dataclass(frozen=True, slots=True)
class NotificationView:
    """Title and message are made when it is shown, in the reader's language, from ``kind`` and ``data``."""

    id: UUID
    kind: str
    level: str
    data: dict[str, Any]
    created_at: datetime
    read_at: datetime | None


def notifications(
    user_id: UUID, *, unread_only: bool = False, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[NotificationView]:
    """The user's notifications, newest first."""
    query = select(Notification).where(Notification.user_id == user_id, Notification.in_app)
    if unread_only:
        query = query.where(Notification.read_at.is_(None))
    with reading() as db:
        return page_of(
            db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda one: (one.created_at, one.id)
        )


def unread_count(user_id: UUID) -> int:
    """How many notifications the user has not read."""
    query = select(func.count()).where(
        Notification.user_id == user_id, Notification.in_app, Notification.read_at.is_(None)
    )
    with reading() as db:
        return db.scalar(query) or 0


def _view(row: Any) -> NotificationView:
    one = row.Notification
    return NotificationView(one.id, one.kind, one.level, one.data, one.created_at, one.read_at)
