"""Providers, their prices over time, and the pool."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal, cast
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    and_,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from whago.domain.models.base import Base, Bytes, Code, Cost, Id, Price, Short
from whago.domain.rules.health import Evidence, Standing
from whago.domain.rules.selection import HEALTHY_SCORE, STATIC_MAX_CHIPS


class Provider(Base):
    """A vendor of residential IPs, or our own list. ``credentials`` is sealed by ``kit.crypto.Vault``.

    ``weight``: how many chips it gets beside providers of the same priority. ``is_draining``: no new chips, and those
    on it move away little by little. ``trouble``: what is wrong with the account, until a try succeeds; a diagnosis'
    code. ``exit_ip_policy``: what a silent new exit IP does to a chip: tolerate, alert, or pause it.
    ``exit_ip_every_min``: how often each chip's exit is looked at. ``country_form``: how the vendor writes a country,
    lower (br) or upper (BR).
    """

    __tablename__ = "proxy_providers"
    __table_args__ = (
        CheckConstraint("provider_type IN ('residential', 'datacenter', 'mobile')", name="type_known"),
        CheckConstraint("protocol IN ('http', 'socks5')", name="protocol_known"),
        CheckConstraint("cost_per_gb >= 0", name="cost_not_negative"),
        CheckConstraint("bytes_per_gb > 0", name="gb_positive"),
        CheckConstraint("port BETWEEN 1 AND 65535", name="port_range"),
        CheckConstraint("weight >= 1", name="weight_positive"),
        CheckConstraint("country_form IN ('lower', 'upper')", name="country_form_known"),
        CheckConstraint("exit_ip_policy IN ('tolerate', 'alert', 'pause')", name="exit_ip_policy_known"),
        CheckConstraint("exit_ip_every_min BETWEEN 5 AND 1440", name="exit_ip_every_range"),
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
    country_form: Mapped[str] = mapped_column(String(6), default="lower", server_default="lower")
    exit_ip_policy: Mapped[str] = mapped_column(String(8), default="alert", server_default="alert")
    exit_ip_every_min: Mapped[int] = mapped_column(default=60, server_default="60")
    cost_per_gb: Mapped[Price]
    currency: Mapped[str] = mapped_column(String(3), default="BRL", server_default="BRL")
    bytes_per_gb: Mapped[int] = mapped_column(BigInteger, default=10**9, server_default="1000000000")
    priority: Mapped[int] = mapped_column(Integer, default=100, server_default="100")
    weight: Mapped[int] = mapped_column(Integer, default=100, server_default="100")
    is_active: Mapped[bool] = mapped_column(default=True, server_default="true")
    is_draining: Mapped[bool] = mapped_column(default=False, server_default="false")
    trouble: Mapped[str | None] = mapped_column(String(40))
    trouble_since: Mapped[datetime | None]
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

    ``ok_weight`` and ``bad_weight`` count attempts and have been decaying since ``weighed_at`` (``rules/health.py``);
    ``consecutive_failures`` and ``refusals`` are those since the last success, a refusal being about the account.
    ``ejected_until`` None: it is in. A time in the past: it is on trial.
    """

    __tablename__ = "proxies"
    __table_args__ = (
        CheckConstraint("proxy_type IN ('rotating', 'static')", name="type_known"),
        CheckConstraint("health_score BETWEEN 0 AND 100", name="health_range"),
        CheckConstraint("max_chips >= 1", name="max_chips_positive"),
        Index("ix_proxies_usable", "provider_id", postgresql_where=text("is_active AND deleted_at IS NULL")),
        {"postgresql_with": {"fillfactor": 50}},
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
    ok_weight: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    bad_weight: Mapped[float] = mapped_column(Double, default=0.0, server_default="0")
    weighed_at: Mapped[datetime | None]
    refusals: Mapped[int] = mapped_column(default=0, server_default="0")
    ip_changes: Mapped[int] = mapped_column(default=0, server_default="0")
    last_ok_at: Mapped[datetime | None]
    last_dial_at: Mapped[datetime | None]
    ejected_until: Mapped[datetime | None]
    ejections: Mapped[int] = mapped_column(default=0, server_default="0")
    returned_at: Mapped[datetime | None]
    is_draining: Mapped[bool] = mapped_column(default=False, server_default="false")
    last_checked_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    provider: Mapped[Provider] = relationship(lazy="raise")

    def start_afresh(self) -> None:
        """Another address or login: what was known of the old one says nothing about it."""
        self.ok_weight = self.bad_weight = 0.0
        self.consecutive_failures = self.refusals = self.ejections = 0
        self.ejected_until = self.returned_at = self.last_ok_at = self.last_checked_at = None
        self.latency_ms = self.last_error = None

    @property
    def evidence(self) -> Evidence:
        """Without its chips, which are counted elsewhere."""
        return Evidence(self.ok_weight, self.bad_weight, self.weighed_at, self.latency_ms, self.ip_changes)

    @property
    def has_own_login(self) -> bool:
        return bool(self.credentials)

    @property
    def standing(self) -> Standing:
        return Standing(
            self.health_score, self.consecutive_failures, self.ejected_until, self.ejections, self.returned_at
        )

    @property
    def capacity(self) -> int | None:
        """Chips that fit at once; None is without bound."""
        return STATIC_MAX_CHIPS if self.proxy_type == "static" else self.max_chips

    @property
    def kind(self) -> Literal["rotating", "static"]:
        return cast("Literal['rotating', 'static']", self.proxy_type)


def takes_chips() -> ColumnElement[bool]:
    """In SQL over Proxy and Provider: a proxy that new chips may be put on, whether it has room or not."""
    return and_(
        Proxy.is_active,
        Proxy.deleted_at.is_(None),
        ~Proxy.is_draining,
        Proxy.ejected_until.is_(None),
        Proxy.health_score >= HEALTHY_SCORE,
        Provider.is_active,
        Provider.deleted_at.is_(None),
        ~Provider.is_draining,
        or_(Provider.trouble.is_(None), Proxy.credentials != {}),
    )


class ProbeDay(Base):
    """What our own probes moved at one provider in one day of the billing time zone: the house pays, no customer does.

    ``purpose``: health, exit_ip or test. ``cost`` adds up at the price of each moment.
    """

    __tablename__ = "proxy_probe_days"
    __table_args__ = (PrimaryKeyConstraint("day", "provider_id", "purpose"),)

    day: Mapped[date]
    provider_id: Mapped[UUID]
    purpose: Mapped[Code]
    probes: Mapped[int] = mapped_column(default=0, server_default="0")
    bytes: Mapped[Bytes]
    cost: Mapped[Cost]
