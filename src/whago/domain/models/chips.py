"""Chips, what happened to them, and the assignment of each to its proxy."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from whago.domain.models.accounts import User
from whago.domain.models.base import Base, Code, Id, Short
from whago.domain.models.proxies import Proxy


class ChipStatus(StrEnum):
    CREATED = "created"
    WAITING_PROXY = "waiting_proxy"
    CONNECTING = "connecting"
    WAITING_QR = "waiting_qr"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    LOGGED_OUT = "logged_out"
    BLOCKED_QUOTA = "blocked_quota"
    ERROR = "error"


class Engine(StrEnum):
    BRIDGE = "bridge"
    EXTERNAL = "external"


class Chip(Base):
    """One WhatsApp session of one user. ``gateway_token_hash`` is the SHA-256 of its gateway credential."""

    __tablename__ = "chips"
    __table_args__ = (
        CheckConstraint("engine IN ('bridge', 'external')", name="engine_known"),
        CheckConstraint(
            "status IN ('created', 'waiting_proxy', 'connecting', 'waiting_qr', 'connected', 'disconnected',"
            " 'logged_out', 'blocked_quota', 'error')",
            name="status_known",
        ),
        Index("uq_chips_alias", "user_id", "alias", unique=True, postgresql_where=text("deleted_at IS NULL")),
        Index("ix_chips_user_id_created_at", "user_id", "created_at"),
        Index("ix_chips_created_at_id", "created_at", "id", postgresql_where=text("deleted_at IS NULL")),
        {"postgresql_with": {"fillfactor": 75}},
    )

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    alias: Mapped[Short]
    engine: Mapped[str] = mapped_column(String(8))
    status: Mapped[str] = mapped_column(String(16), index=True)
    status_reason: Mapped[str | None] = mapped_column(String(60))
    region: Mapped[str | None] = mapped_column(String(40))
    phone_number: Mapped[str | None] = mapped_column(String(20))
    gateway_token_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    sticky_generation: Mapped[int] = mapped_column(default=0, server_default="0")
    bridge_event_no: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    thrift: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    created_at: Mapped[datetime]
    connected_at: Mapped[datetime | None]
    last_activity_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="raise")


class ChipEvent(Base):
    """One thing that happened to a chip; kept for its owner to read."""

    __tablename__ = "chip_events"
    __table_args__ = (Index("ix_chip_events_chip_id_id", "chip_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    chip_id: Mapped[UUID] = mapped_column(ForeignKey("chips.id"))
    kind: Mapped[Code]
    data: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    created_at: Mapped[datetime]


class ChipStatusChange(Base):
    """Since when a chip was how. Written by a trigger, which sees every change (migration 0007)."""

    __tablename__ = "chip_status_changes"
    __table_args__ = (Index("ix_chip_status_changes_chip_id_id", "chip_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    chip_id: Mapped[UUID] = mapped_column(ForeignKey("chips.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]


class Assignment(Base):
    """Chip C uses proxy P under sticky identifier S from ``assigned_at`` to ``released_at`` (None: still).

    ``session_token`` is what the provider's dialect carries for ``session_identifier``. ``is_exclusive`` repeats that
    the proxy is static, so that a unique index can forbid a second chip on it.

    ``failures`` and ``refusals`` count since the session last opened a tunnel, which it did first at ``first_ok_at``; a
    refusal is about the account or the target. ``failing_since``: the first of them.
    """

    __tablename__ = "chip_proxy_assignments"
    __table_args__ = (
        Index(
            "uq_chip_proxy_assignments_active_chip",
            "chip_id",
            unique=True,
            postgresql_where=text("released_at IS NULL"),
        ),
        Index(
            "uq_chip_proxy_assignments_exclusive_proxy",
            "proxy_id",
            unique=True,
            postgresql_where=text("released_at IS NULL AND is_exclusive"),
        ),
        Index(
            "uq_chip_proxy_assignments_active_token",
            "provider_id",
            "session_token",
            unique=True,
            postgresql_where=text("released_at IS NULL"),
        ),
        Index("ix_chip_proxy_assignments_active_proxy", "proxy_id", postgresql_where=text("released_at IS NULL")),
        Index("ix_chip_proxy_assignments_chip_id_assigned_at", "chip_id", "assigned_at"),
        Index("ix_chip_proxy_assignments_active_exit_ip", "exit_ip", postgresql_where=text("released_at IS NULL")),
        Index(
            "ix_chip_proxy_assignments_failing",
            "failing_since",
            postgresql_where=text("released_at IS NULL AND failing_since IS NOT NULL"),
        ),
        CheckConstraint("released_at >= assigned_at", name="released_after_assigned"),
    )

    id: Mapped[Id]
    chip_id: Mapped[UUID] = mapped_column(ForeignKey("chips.id"))
    proxy_id: Mapped[UUID] = mapped_column(ForeignKey("proxies.id"))
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"))
    session_identifier: Mapped[Short]
    session_token: Mapped[Code]
    is_exclusive: Mapped[bool]
    assigned_at: Mapped[datetime]
    released_at: Mapped[datetime | None]
    assign_reason: Mapped[Code]
    release_reason: Mapped[str | None] = mapped_column(String(40))
    exit_ip: Mapped[str | None] = mapped_column(INET)
    expected_exit_ip: Mapped[str | None] = mapped_column(INET)
    exit_ip_changed_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0, server_default="0")
    refusals: Mapped[int] = mapped_column(default=0, server_default="0")
    failing_since: Mapped[datetime | None]
    first_ok_at: Mapped[datetime | None]

    chip: Mapped[Chip] = relationship(lazy="raise")
    proxy: Mapped[Proxy] = relationship(lazy="raise")


class ExitIpObservation(Base):
    """A stretch of time in which an assignment showed one exit IP."""

    __tablename__ = "exit_ip_observations"
    __table_args__ = (
        Index("ix_exit_ip_observations_chip_id_first_seen_at", "chip_id", "first_seen_at"),
        Index("ix_exit_ip_observations_last_seen_at", "last_seen_at"),
    )

    id: Mapped[Id]
    chip_id: Mapped[UUID] = mapped_column(ForeignKey("chips.id"))
    assignment_id: Mapped[UUID] = mapped_column(ForeignKey("chip_proxy_assignments.id"), index=True)
    exit_ip: Mapped[str] = mapped_column(INET, index=True)
    country: Mapped[str | None] = mapped_column(String(2))
    asn: Mapped[str | None] = mapped_column(String(80))
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    observations: Mapped[int] = mapped_column(default=1, server_default="1")
