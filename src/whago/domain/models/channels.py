"""Where people are told things, what is to be delivered there, and each attempt to do so."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from whago.domain.models.accounts import User
from whago.domain.models.base import Base, Code, Id, Short
from whago.domain.models.records import Notification


class Channel(Base):
    """One way to reach a user. ``address`` is an e-mail address or a URL; ``secret`` signs webhooks and is sealed.

    ``kinds`` None is every kind of alert. ``events`` are for a customer's own system. An e-mail address that is not
    the account's own is used only after it was confirmed. ``failing_since`` and ``failures`` count attempts in a row.
    """

    __tablename__ = "channels"
    __table_args__ = (
        CheckConstraint("kind IN ('in_app', 'email', 'webhook')", name="kind_known"),
        Index("ix_channels_user_id_kind", "user_id", "kind", postgresql_where=text("deleted_at IS NULL")),
        Index(
            "uq_channels_one_in_app",
            "user_id",
            unique=True,
            postgresql_where=text("kind = 'in_app' AND deleted_at IS NULL"),
        ),
    )

    id: Mapped[Id] = mapped_column(server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str] = mapped_column(String(8))
    name: Mapped[Short]
    address: Mapped[str | None]
    secret: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    kinds: Mapped[list[str] | None] = mapped_column(ARRAY(String(40)))
    events: Mapped[list[str]] = mapped_column(ARRAY(String(40)), default=list, server_default="{}")
    thresholds: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger), server_default="{80,100}")
    quiet_from: Mapped[time | None]
    quiet_to: Mapped[time | None]
    time_zone: Mapped[str | None] = mapped_column(String(60))
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    confirmed_at: Mapped[datetime | None]
    confirm_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]  # by the product itself, after repeated failures
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="raise")


class CustomerEvent(Base):
    """Something that a customer's own system wants to know. Most rows are written by triggers (migration 0004)."""

    __tablename__ = "customer_events"
    __table_args__ = (
        Index("ix_customer_events_unrouted", "number", postgresql_where=text("routed_at IS NULL")),
        Index("ix_customer_events_created_at", "created_at"),
    )

    id: Mapped[Id] = mapped_column(server_default=text("gen_random_uuid()"))
    number: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)  # the order in which they happened
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    type: Mapped[Code]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    routed_at: Mapped[datetime | None]


class Delivery(Base):
    """One message for one channel. ``id`` never changes, whatever is repeated: receivers know a repetition by it.

    pending → sending (claimed until ``claimed_until``) → sent, or pending again with a later ``due_at``, or failed.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("kind IN ('notice', 'event', 'test', 'confirm')", name="kind_known"),
        CheckConstraint("state IN ('pending', 'sending', 'sent', 'failed')", name="state_known"),
        Index("uq_deliveries_channel_id_notification_id", "channel_id", "notification_id", unique=True),
        Index("uq_deliveries_channel_id_event_id", "channel_id", "event_id", unique=True),
        Index("ix_deliveries_due_at", "due_at", postgresql_where=text("state IN ('pending', 'sending')")),
        Index("ix_deliveries_channel_id_created_at_id", "channel_id", "created_at", "id"),
        Index("ix_deliveries_notification_id", "notification_id"),
        Index("ix_deliveries_event_id", "event_id"),
        Index("ix_deliveries_created_at", "created_at"),
    )

    id: Mapped[Id] = mapped_column(server_default=text("gen_random_uuid()"))
    channel_id: Mapped[UUID] = mapped_column(ForeignKey("channels.id"))
    kind: Mapped[str] = mapped_column(String(8))
    notification_id: Mapped[UUID | None] = mapped_column(ForeignKey("notifications.id"))
    event_id: Mapped[UUID | None] = mapped_column(ForeignKey("customer_events.id"))
    secret: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")  # a sealed code to confirm
    state: Mapped[str] = mapped_column(String(8), default="pending", server_default="pending")
    created_at: Mapped[datetime]
    due_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    sent_at: Mapped[datetime | None]
    error: Mapped[str | None]

    channel: Mapped[Channel] = relationship(lazy="raise")
    notification: Mapped[Notification | None] = relationship(lazy="raise")
    event: Mapped[CustomerEvent | None] = relationship(lazy="raise")


class DeliveryAttempt(Base):
    """One try. One without ``ended_at`` whose delivery was claimed again was cut off: it may have arrived."""

    __tablename__ = "delivery_attempts"
    __table_args__ = (
        CheckConstraint("outcome IN ('sent', 'retry', 'failed', 'cut_off')", name="outcome_known"),
        Index("uq_delivery_attempts_delivery_id_number", "delivery_id", "number", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    delivery_id: Mapped[UUID] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
    number: Mapped[int]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(8))
    reason: Mapped[str | None] = mapped_column(String(60))
    status: Mapped[int | None]
    excerpt: Mapped[str | None]
