"""Customers, administrators, plans, and what they sign in with."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Numeric, SmallInteger, String, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from whago.domain.models.base import Base, Code, Id, Short
from whago.domain.rules.pricing import limit_bytes
from whago.domain.rules.scopes import EVERY_SCOPE
from whago.domain.rules.thresholds import OnLimit


class Plan(Base):
    """What a customer may use a month. ``proxy_gb_limit`` in GB of 10⁹ bytes; None is unlimited, 0 is nothing."""

    __tablename__ = "plans"
    __table_args__ = (
        CheckConstraint("proxy_gb_limit >= 0", name="limit_not_negative"),
        CheckConstraint("max_chips >= 0", name="max_chips_not_negative"),
        CheckConstraint("on_limit IN ('block', 'block_new', 'bill')", name="on_limit_known"),
        Index("uq_plans_one_default", "is_default", unique=True, postgresql_where=text("is_default")),
    )

    id: Mapped[Id]
    name: Mapped[Short]
    slug: Mapped[str] = mapped_column(String(60), unique=True)
    price: Mapped[Decimal] = mapped_column(Numeric(12, 2))
    currency: Mapped[str] = mapped_column(String(3), default="BRL", server_default="BRL")
    max_chips: Mapped[int]
    proxy_gb_limit: Mapped[Decimal | None] = mapped_column(Numeric(18, 9))
    on_limit: Mapped[str] = mapped_column(String(12), default=OnLimit.BLOCK, server_default="block")
    is_default: Mapped[bool] = mapped_column(default=False, server_default="false")
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    @property
    def limit_bytes(self) -> int | None:
        return limit_bytes(self.proxy_gb_limit)

    @property
    def policy(self) -> OnLimit:
        return OnLimit(self.on_limit)


class User(Base):
    """A customer or somebody of the house (``domain.rules.roles``). The e-mail is kept in lower case."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'support', 'finance', 'user')", name="role_known"),
        Index("uq_users_email", "email", unique=True, postgresql_where=text("deleted_at IS NULL")),
    )

    id: Mapped[Id]
    name: Mapped[Short]
    email: Mapped[str] = mapped_column(String(320))
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(String(10), default="user", server_default="user")
    plan_id: Mapped[UUID | None] = mapped_column(ForeignKey("plans.id"), index=True)
    language: Mapped[str | None] = mapped_column(String(5))
    time_zone: Mapped[str | None] = mapped_column(String(60))  # None: the browser's
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    is_demo: Mapped[bool] = mapped_column(default=False, server_default="false")
    quota_thresholds: Mapped[list[int] | None] = mapped_column(ARRAY(SmallInteger))  # beside 80 and 100
    has_channels: Mapped[bool] = mapped_column(default=False, server_default="false")  # the first ones were made
    token_generation: Mapped[int] = mapped_column(default=0, server_default="0")  # raised to end every sign-in at once
    created_at: Mapped[datetime]
    last_login_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    plan: Mapped[Plan | None] = relationship(lazy="raise")

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


class RefreshToken(Base):
    """One sign-in. A used token is replaced; the use of a replaced one ends the whole family (RFC 9700 §4.14.2)."""

    __tablename__ = "refresh_tokens"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    family_id: Mapped[UUID] = mapped_column(index=True)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    began_at: Mapped[datetime | None]  # of the family; None for one that began before this was kept
    last_seen_at: Mapped[datetime | None]  # to a quarter of an hour
    address: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(300))


class TotpFactor(Base):
    """A user's authenticator app (``domain.rules.totp``). It counts from ``confirmed_at`` on, when a code was right.

    ``last_step``: the newest step whose code was used. ``uses``: how often this, or a recovery code, was accepted.
    """

    __tablename__ = "totp_factors"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    sealed_secret: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    confirmed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger, default=-1, server_default="-1")
    uses: Mapped[int] = mapped_column(default=0, server_default="0")


class RecoveryCode(Base):
    """Comes in for the authenticator app once. Only the SHA-256 is kept, which is enough for 125 random bits."""

    __tablename__ = "recovery_codes"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    code_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiKey(Base):
    """A customer's key for ``X-API-Key``. Shown once; the hash is kept, and a prefix to recognise it by.

    ``scopes``: what the key may do of what its owner may (``domain.rules.scopes``).
    """

    __tablename__ = "api_keys"

    id: Mapped[Id]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[Short]
    prefix: Mapped[Code]
    key_hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    scopes: Mapped[list[str]] = mapped_column(
        ARRAY(String(10)), default=lambda: list(EVERY_SCOPE), server_default="{read,write,admin}"
    )
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class PasswordReset(Base):
    """Somebody asked for a new password for ``email``, which may be nobody's: only the worker looks that up.

    So asking costs the same for every address. The token is drawn when its letter is written, and only its SHA-256 is
    kept. ``sent_at`` None: the letter is due at ``due_at``. ``used_at``: the link has done its work or was overtaken.
    """

    __tablename__ = "password_resets"
    __table_args__ = (
        Index("ix_password_resets_due_at", "due_at", postgresql_where=text("sent_at IS NULL")),
        Index("ix_password_resets_requested_at", "requested_at"),
    )

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320))
    language: Mapped[str | None] = mapped_column(String(5))
    requested_at: Mapped[datetime]
    due_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0, server_default="0")
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes | None] = mapped_column(LargeBinary(32), unique=True)
    sent_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
