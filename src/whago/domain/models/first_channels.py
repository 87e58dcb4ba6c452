"""The channels that everybody begins with: the application, and the account's own e-mail address."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models.accounts import User
from whago.domain.models.channels import Channel
from whago.domain.rules.alert_kinds import emailed_kinds
from whago.domain.rules.channels import STANDARD_THRESHOLDS, ChannelKind, extra_thresholds


def make_first_channels(db: Session, user_ids: Collection[UUID], *, now: datetime) -> None:
    """For those users who never had any; made when they are first needed, whichever way an account came to be."""
    new = db.scalars(
        select(User)
        .where(User.id.in_(user_ids), User.has_channels.is_(False))
        .order_by(User.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    for user in new:
        user.has_channels = True
        db.add(_channel(user.id, ChannelKind.IN_APP, "WHAGO", None, now))
        db.add(_channel(user.id, ChannelKind.EMAIL, "E-mail", emailed_kinds(), now))


def watch_thresholds(db: Session, user_id: UUID) -> None:
    """Tells the traffic which thresholds count for this user: those of all channels that are on."""
    db.flush()
    user = db.scalars(select(User).where(User.id == user_id).with_for_update(key_share=True)).one()
    wished = db.scalars(
        select(Channel.thresholds).where(Channel.user_id == user_id, Channel.is_active, Channel.deleted_at.is_(None))
    )
    user.quota_thresholds = extra_thresholds(wished.all())


def _channel(user_id: UUID, kind: ChannelKind, name: str, kinds: list[str] | None, now: datetime) -> Channel:
    return Channel(
        user_id=user_id,
        kind=kind,
        name=name,
        kinds=kinds,
        thresholds=list(STANDARD_THRESHOLDS),
        confirmed_at=now,
        created_at=now,
        updated_at=now,
    )
