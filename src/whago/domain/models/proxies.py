"""Providers, their prices over time, and the pool."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from whago.domain.models.base import Base, Bytes, Code, Id, Price, Short
from whago.domain.rules.selection import STATIC_MAX_CHIPS


class Provider(Base):
    """A vendor of residential IPs, or our own list. ``credentials`` is sealed by ``kit.crypto.Vault``."""

    __tablename__ = "proxy_providers"
    __table_args__ = (
        CheckConstraint("provider_type IN ('residential', 'datacenter', 'mobile')", name="type_known"),
        CheckConstraint("protocol IN ('http', 'socks5')", name="protocol_known"),
        CheckConstraint("cost_per_gb >= 0", name="cost_not_negative"),
        CheckConstraint("bytes_per_gb > 0", name="gb_positive"),
        CheckConstraint("port BETWEEN 1 AND 65535", name="port_range"),
        Index("uq_proxy_providers_name", "name", unique=True, postgresql_where=text("deleted_at IS NULL")),
    )

    id: Mapped[Id]
    name: Mapped[Short]
    provider_type: Mapped[str] = mapped_column(String(12))
    preset: Mapped[Code]
    protocol: Mapped[str] = mapped_column(String(6))
    host: Mapped[str | None] = mapped_column(String(253))
    port: Mapped[int | None]
    credentials: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    username_template: Mapped[str]
    password_template: Mapped[str]
    country: Mapped[str | None] = mapped_column(String(2))
    region: Mapped[str | None] = mapped_column(String(40))
    lifetime_min: Mapped[int] = mapped_column(default=1440, server_default="1440")
    ip_check_url: Mapped[str | None]
    cost_per_gb: Mapped[Price]
    currency: Mapped[str] = mapped_column(String(3), default="BRL", server_default="BRL")
    bytes_per_gb: Mapped[int] = mapped_column(BigInteger, default=10**9, server_default="1000000000")
    priority: Mapped[int] = mapped_column(Integer, default=100, server_default="100")
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    is_demo: Mapped[bool] = mapped_column(default=False, server_default="false")
    current_price_id: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class ProviderPrice(Base):
    """A price snapshot. Usage rows point to the one in force when their bytes flowed; it never changes."""

    __tablename__ = "proxy_provider_prices"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"), index=True)
    cost_per_gb: Mapped[Price]
    bytes_per_gb: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(String(3))
    effective_from: Mapped[datetime]


class Proxy(Base):
    """One upstream endpoint. ``proxy_url`` is ``scheme://host:port`` and never holds a secret.

    A static proxy of a list may have credentials of its own (sealed); otherwise the provider's are used.
    """

    __tablename__ = "proxies"
    __table_args__ = (
        CheckConstraint("proxy_type IN ('rotating', 'static')", name="type_known"),
        CheckConstraint("health_score BETWEEN 0 AND 100", name="health_range"),
        CheckConstraint("max_chips >= 1", name="max_chips_positive"),
        Index("ix_proxies_usable", "provider_id", postgresql_where=text("is_active AND deleted_at IS NULL")),
    )

    id: Mapped[Id]
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"))
    proxy_type: Mapped[str] = mapped_column(String(8))
    proxy_url: Mapped[str]
    credentials: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    region: Mapped[str | None] = mapped_column(String(40))
    max_chips: Mapped[int | None]
    health_score: Mapped[int] = mapped_column(default=100, server_default="100")
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    total_bytes_used: Mapped[Bytes]
    latency_ms: Mapped[int | None]
    consecutive_failures: Mapped[int] = mapped_column(default=0, server_default="0")
    last_checked_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    provider: Mapped[Provider] = relationship(lazy="raise")

    @property
    def capacity(self) -> int | None:
        """Chips that fit at once; None is without bound."""
        return STATIC_MAX_CHIPS if self.proxy_type == "static" else self.max_chips

    @property
    def kind(self) -> Literal["rotating", "static"]:
        return cast("Literal['rotating', 'static']", self.proxy_type)
