"""Alerts: something is wrong from ``raised_at`` to ``cleared_at``. At most one is open per kind and subject.

Whoever finds that something is wrong, or right again, says so inside its own transaction; that people are told is part
of the same commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, func, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from whago.domain.models.base import Base, Code, Id
from whago.domain.models.notifying import admin_ids, notify
from whago.domain.models.records import Notification
from whago.domain.rules.notices import RECOVERED

SUBJECT_MAX_CHARS: Final = 160


class Severity(StrEnum):
    """Also the level of the notification."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Alert(Base):
    """``subject`` says what is wrong (an id, or a name), ``data`` what its text needs. ``user_id``: whose affair it is.

    Acknowledged: an administrator has seen it and looks after it; it stays open until the cause is gone.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        CheckConstraint("severity IN ('info', 'warning', 'error')", name="severity_known"),
        CheckConstraint("cleared_at >= raised_at", name="cleared_after_raised"),
        Index("uq_alerts_open", "kind", "subject", unique=True, postgresql_where=text("cleared_at IS NULL")),
        Index("ix_alerts_raised_at_id", "raised_at", "id"),
    )

    id: Mapped[Id] = mapped_column(server_default=text("gen_random_uuid()"))
    kind: Mapped[Code]
    subject: Mapped[str] = mapped_column(String(SUBJECT_MAX_CHARS))
    severity: Mapped[str] = mapped_column(String(8))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"), index=True)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    raised_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    cleared_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))


def raise_alert(
    db: Session,
    kind: str,
    subject: str,
    *,
    now: datetime,
    severity: Severity,
    user_id: UUID | None = None,
    to_admins: bool = False,
    data: Mapping[str, Any] | None = None,
) -> bool:
    """True when the alert is new; one that is open already is only seen again, with the newer ``data``.

    A new one is told to ``user_id`` and, with ``to_admins`` or without a ``user_id``, to every active administrator.
    """
    told = dict(data or {})
    new = insert(Alert).values(
        kind=kind,
        subject=subject[:SUBJECT_MAX_CHARS],
        severity=severity.value,
        user_id=user_id,
        data=told,
        raised_at=now,
        last_seen_at=now,
    )
    row: Any = db.execute(
        new.on_conflict_do_update(
            index_elements=["kind", "subject"],
            index_where=text("cleared_at IS NULL"),
            set_={"last_seen_at": func.greatest(Alert.last_seen_at, new.excluded.last_seen_at), "data": told},
        ).returning(
            Alert.id, literal_column("xmax = 0").label("is_new")
        )  # PostgreSQL: a row that was inserted has no deleter
    ).one()
    alert_id, is_new = row.id, bool(row.is_new)
    if is_new:
        recipients = {user_id} if user_id is not None else set()
        if to_admins or user_id is None:
            recipients |= set(admin_ids(db))
        key = f"{alert_id}:raised"
        notify(db, recipients, kind, severity.value, dedupe_key=key, data=told, now=now, alert_id=alert_id)
    return is_new


def clear_alert(
    db: Session,
    kind: str,
    subject: str,
    *,
    now: datetime,
    data: Mapping[str, Any] | None = None,
    tell: bool = True,
) -> bool:
    """True when an alert was open. Whoever was told of it is told that it has ended; ``tell=False`` ends it silently.

    ``data`` adds to what the alert knows, for the text of the recovery.
    """
    ended = db.execute(
        update(Alert)
        .where(Alert.kind == kind, Alert.subject == subject[:SUBJECT_MAX_CHARS], Alert.cleared_at.is_(None))
        .values(cleared_at=func.greatest(now, Alert.raised_at), data=Alert.data.op("||")(dict(data or {})))
        .returning(Alert.id, Alert.data)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if ended is None:
        return False
    if tell:
        recipients = db.scalars(select(Notification.user_id).where(Notification.alert_id == ended.id)).all()
        key = f"{ended.id}:cleared"
        notify(db, set(recipients), kind, RECOVERED, dedupe_key=key, data=ended.data, now=now, alert_id=ended.id)
    return True


def clear_others(db: Session, kind: str, still: Collection[str], *, now: datetime) -> int:
    """Ends every open alert of a kind whose subject is not among ``still``; returns how many."""
    keep = {subject[:SUBJECT_MAX_CHARS] for subject in still}
    standing = db.scalars(select(Alert.subject).where(Alert.kind == kind, Alert.cleared_at.is_(None))).all()
    return sum(clear_alert(db, kind, subject, now=now) for subject in sorted(standing) if subject not in keep)


def clear_calm(db: Session, kind: str, *, now: datetime, calm: timedelta) -> int:
    """Ends the open alerts of a kind that were not seen again for ``calm``; returns how many."""
    query = select(Alert.subject).where(
        Alert.kind == kind, Alert.cleared_at.is_(None), Alert.last_seen_at <= now - calm
    )
    return sum(clear_alert(db, kind, subject, now=now) for subject in sorted(db.scalars(query)))
