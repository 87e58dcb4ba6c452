"""The month's bytes of several customers at once, for administrators' lists."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import UserProxyCost
from whago.kit.db import reading


def bytes_of_users(user_ids: Collection[UUID], *, month: date) -> dict[UUID, int]:
    """Committed bytes of each in a billing month; 0 for those without any."""
    query = select(UserProxyCost.user_id, UserProxyCost.total_bytes).where(
        UserProxyCost.user_id.in_(user_ids), UserProxyCost.month_year == month
    )
    with reading() as db:
        found = {row.user_id: row.total_bytes for row in db.execute(query)}
    return {user_id: found.get(user_id, 0) for user_id in user_ids}
