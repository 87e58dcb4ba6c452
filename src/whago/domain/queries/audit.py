"""The audit log, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import AuditEntry, User
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_number, page_of
from whago.kit.db import reading

NEWEST_FIRST = Order((AuditEntry.id,), (as_number,), descending=True)


@dataclass(frozen=True, slots=True)
class AuditView:
    """Who (None: the product itself) did what to what."""

    id: int
    at: datetime
    actor_id: UUID | None
    actor_email: str | None
    action: str
    target_kind: str
    target_id: str | None
    data: dict[str, Any]


def audit_log(
    *,
    action: str | None = None,
    target_id: str | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[AuditView]:
    """Newest first."""
    query = select(AuditEntry, User.email).outerjoin(User, User.id == AuditEntry.actor_id)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if target_id is not None:
        query = query.where(AuditEntry.target_id == target_id)
    with reading() as db:
        return page_of(db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda one: (one.id,))


def _view(row: Any) -> AuditView:
    entry, email = row
    return AuditView(
        id=entry.id,
        at=entry.at,
        actor_id=entry.actor_id,
        actor_email=email,
        action=entry.action,
        target_kind=entry.target_kind,
        target_id=entry.target_id,
        data=entry.data,
    )
