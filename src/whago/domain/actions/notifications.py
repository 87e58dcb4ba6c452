"""Reading marks on notifications."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import CursorResult, update

from whago.domain.models import Notification
from whago.kit.db import transaction


def mark_read(user_id: UUID, ids: Collection[UUID] | None, *, now: datetime) -> int:
    """Marks these, or all of them for None, and returns how many were unread. Another's are left alone."""
    query = update(Notification).where(Notification.user_id == user_id, Notification.read_at.is_(None))
    if ids is not None:
        query = query.where(Notification.id.in_(ids))
    with transaction() as db:
        result = db.execute(query.values(read_at=now))
        assert isinstance(result, CursorResult)
        return result.rowcount
