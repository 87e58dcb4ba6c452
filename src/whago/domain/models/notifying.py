"""Telling people: a notification is a row of the transaction that caused it; a clock makes its deliveries later."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models.accounts import User
from whago.domain.models.channels import Channel
from whago.domain.models.records import Notification
from whago.domain.rules.channels import ChannelKind, Wishes


def notify(
    db: Session,
    user_ids: Collection[UUID],
    kind: str,
    level: str,
    *,
    dedupe_key: str,
    data: Mapping[str, Any],
    now: datetime,
    alert_id: UUID | None = None,
) -> list[UUID]:
    """One notification for each living user who does not have one with this key; returns who got it.

    ``data`` are plain JSON values. Somebody who muted the kind in the application still gets the row, unseen there,
    because other channels are made from it.
    """
    recipients = _living(db, user_ids)
    if not recipients:
        return []
    muted = _muted(db, recipients, kind, data)
    rows = [
        {
            "user_id": user_id,
            "kind": kind,
            "level": level,
            "data": dict(data),
            "dedupe_key": dedupe_key,
            "created_at": now,
            "alert_id": alert_id,
            "in_app": user_id not in muted,
        }
        for user_id in recipients
    ]
    told = db.scalars(insert(Notification).on_conflict_do_nothing().returning(Notification.user_id), rows)
    return list(told)


def admin_ids(db: Session) -> list[UUID]:
    """Every active administrator."""
    return list(db.scalars(select(User.id).where(User.role == "admin", User.is_active, User.deleted_at.is_(None))))


def _living(db: Session, user_ids: Collection[UUID]) -> list[UUID]:
    if not user_ids:
        return []
    return list(db.scalars(select(User.id).where(User.id.in_(user_ids), User.deleted_at.is_(None)).order_by(User.id)))


def _muted(db: Session, user_ids: Collection[UUID], kind: str, data: Mapping[str, Any]) -> set[UUID]:
    """Those whose wishes for the application leave this one out."""
    wished = db.scalars(
        select(Channel).where(
            Channel.user_id.in_(user_ids), Channel.kind == ChannelKind.IN_APP, Channel.deleted_at.is_(None)
        )
    )
    return {one.user_id for one in wished if not Wishes(one.kinds, one.thresholds).want(kind, data)}
