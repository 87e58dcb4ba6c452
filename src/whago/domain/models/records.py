"""What was told to people and what was done: notifications, audit log, runs of the clocks."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from whago.domain.models.base import Base, Code, Id


class Notification(Base):
    """Something to tell a user, once: ``dedupe_key`` is unique per user. Text is made in the reader's language.

    ``in_app``: whether it shows in the application. ``routed_at``: when deliveries were made of it for the channels.
    """

    __tablename__ = "notifications"
    __table_args__ = (
        Index("uq_notifications_user_id_dedupe_key", "user_id", "dedupe_key", unique=True),
        Index("ix_notifications_user_id_created_at_id", "user_id", "created_at", "id"),
        Index("ix_notifications_unread", "user_id", postgresql_where=text("read_at IS NULL")),
        Index("ix_notifications_unrouted", "created_at", postgresql_where=text("routed_at IS NULL")),
        CheckConstraint("level IN ('info', 'warning', 'error', 'success')", name="level_known"),
    )

    id: Mapped[Id] = mapped_column(server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[Code]
    level: Mapped[str] = mapped_column(String(8))
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    dedupe_key: Mapped[str] = mapped_column(String(120))
    created_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    alert_id: Mapped[UUID | None] = mapped_column(ForeignKey("alerts.id"), index=True)
    in_app: Mapped[bool] = mapped_column(default=True, server_default="true")
    routed_at: Mapped[datetime | None]


class AuditEntry(Base):
    """Who did what to what. Rows are only added; ``data`` never holds a secret."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_action_id", "action", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    action: Mapped[Code]
    target_kind: Mapped[Code]
    target_id: Mapped[str | None] = mapped_column(String(60))
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")


class ClockRun(Base):
    """One run of a periodic task. ``period``: the first day of the day or month that a calendar clock ran for."""

    __tablename__ = "clock_runs"
    __table_args__ = (Index("ix_clock_runs_clock_started_at", "clock", "started_at"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    clock: Mapped[Code]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    error: Mapped[str | None]
    period: Mapped[date | None]


class ClockEntry(Base):
    """A clock of the table, as the worker that started last has it. ``missed``: what becomes of missed runs."""

    __tablename__ = "clocks"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    position: Mapped[int]
    every_s: Mapped[int]
    period: Mapped[str | None] = mapped_column(String(8))
    missed: Mapped[str] = mapped_column(String(8))
