"""Alerts for administrators: what is wrong now, and what was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import aliased

from whago.domain.models import Alert, User
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_id, as_moment, page_of
from whago.errors import WhagoError
from whago.kit.db import reading

NEWEST_FIRST = Order((Alert.raised_at, Alert.id), (as_moment, as_id), descending=True)
_Seer = aliased(User)


@dataclass(frozen=True, slots=True)
class AlertView:
    """``cleared_at`` None: it is still so. ``user_…``: the customer whose affair it is, if it is one's."""

    id: UUID
    kind: str
    subject: str
    severity: str
    data: dict[str, Any]
    raised_at: datetime
    last_seen_at: datetime
    cleared_at: datetime | None
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    user_id: UUID | None
    user_name: str | None
    user_email: str | None


def list_alerts(
    *,
    is_open: bool | None = True,
    kind: str | None = None,
    severity: str | None = None,
    user_id: UUID | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[AlertView]:
    """Newest first. ``is_open`` None: the past ones too."""
    query = _query()
    if is_open is not None:
        query = query.where(Alert.cleared_at.is_(None) if is_open else Alert.cleared_at.is_not(None))
    if kind is not None:
        query = query.where(Alert.kind == kind)
    if severity is not None:
        query = query.where(Alert.severity == severity)
    if user_id is not None:
        query = query.where(Alert.user_id == user_id)
    with reading() as db:
        return page_of(
            db, query, NEWEST_FIRST, limit=limit, cursor=cursor, make=_view, key=lambda one: (one.raised_at, one.id)
        )


def get_alert(alert_id: UUID) -> AlertView:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        row = db.execute(_query().where(Alert.id == alert_id)).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return _view(row)


def count_open_alerts() -> int:
    """Open ones that nobody has acknowledged."""
    query = select(func.count()).where(Alert.cleared_at.is_(None), Alert.acknowledged_at.is_(None))
    with reading() as db:
        return db.scalar(query) or 0


def _query() -> Select[*tuple[Any, ...]]:
    return (
        select(Alert, User.name, User.email, _Seer.name)
        .outerjoin(User, User.id == Alert.user_id)
        .outerjoin(_Seer, _Seer.id == Alert.acknowledged_by)
    )


def _view(row: Any) -> AlertView:
    one, user_name, user_email, seer = row
    return AlertView(
        id=one.id,
        kind=one.kind,
        subject=one.subject,
        severity=one.severity,
        data=one.data,
        raised_at=one.raised_at,
        last_seen_at=one.last_seen_at,
        cleared_at=one.cleared_at,
        acknowledged_at=one.acknowledged_at,
        acknowledged_by=seer,
        user_id=one.user_id,
        user_name=user_name,
        user_email=user_email,
    )
