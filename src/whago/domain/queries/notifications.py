"""Notifications of a user, and, for administrators, the warnings of everybody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from whago.domain.models import Notification, User
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


@dataclass(frozen=True, slots=True)
class AlertView:
    """A warning or error that was told to a customer."""

    id: UUID
    kind: str
    level: str
    data: dict[str, Any]
    created_at: datetime
    read_at: datetime | None
    user_id: UUID
    user_name: str
    user_email: str


def notifications(
    user_id: UUID, *, unread_only: bool = False, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[NotificationView]:
    """The user's notifications, newest first."""
    query = select(Notification).where(Notification.user_id == user_id)
    if unread_only:
        query = query.where(Notification.read_at.is_(None))
    with reading() as db:
        return page_of(
            db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda one: (one.created_at, one.id)
        )


def unread_count(user_id: UUID) -> int:
    """How many notifications the user has not read."""
    query = select(func.count()).where(Notification.user_id == user_id, Notification.read_at.is_(None))
    with reading() as db:
        return db.scalar(query) or 0


def alerts(*, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[AlertView]:
    """Everybody's warnings and errors, newest first: for administrators."""
    query = (
        select(Notification, User)
        .join(User, User.id == Notification.user_id)
        .where(Notification.level.in_(("warning", "error")))
    )
    with reading() as db:
        return page_of(
            db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_alert, key=lambda one: (one.created_at, one.id)
        )


def _view(row: Any) -> NotificationView:
    one = row.Notification
    return NotificationView(one.id, one.kind, one.level, one.data, one.created_at, one.read_at)


def _alert(row: Any) -> AlertView:
    one, user = row
    return AlertView(
        id=one.id,
        kind=one.kind,
        level=one.level,
        data=one.data,
        created_at=one.created_at,
        read_at=one.read_at,
        user_id=user.id,
        user_name=user.name,
        user_email=user.email,
    )
