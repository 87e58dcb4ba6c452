"""The audit log, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, select, text

from whago.domain.models import AuditEntry, User
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_number, has_text, page_of
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
    search: str | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[AuditView]:
    """Newest first. ``search`` looks into who did it, the target's identifier and the details."""
    query = select(AuditEntry, User.email).outerjoin(User, User.id == AuditEntry.actor_id)
    if action is not None:
        query = query.where(AuditEntry.action == action)
    if target_id is not None:
        query = query.where(AuditEntry.target_id == target_id)
    if search is not None:
        details = cast(AuditEntry.data, Text)
        query = query.where(has_text(search, User.email, User.name, AuditEntry.target_id, details))
    with reading() as db:
        return page_of(db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda one: (one.id,))


_ACTIONS = text("""
WITH RECURSIVE one AS (
    (SELECT action FROM audit_log ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT a.action FROM audit_log a WHERE a.action > one.action ORDER BY a.action LIMIT 1)
    FROM one WHERE one.action IS NOT NULL
)
SELECT action FROM one WHERE action IS NOT NULL
""")  # one step of an index per kind, however long the log is


def audited_actions() -> list[str]:
    """The kinds of entries that there are, by name."""
    with reading() as db:
        return list(db.scalars(_ACTIONS))


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
