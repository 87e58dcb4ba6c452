"""The ledger, its aggregates, leases and the gateways that fill them. Bytes are those of the raw upstream socket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    text,
)
from sqlalchemy.orm import Mapped, Session, mapped_column

from whago.domain.models.base import Base, Bytes, Code, Cost, Id, Price
from whago.domain.rules.months import next_month
from whago.kit.db import locked
from whago.kit.ids import new_id


class UsageLog(Base):
    """The ledger: one row per gateway boot, tunnel, clock hour and price, with absolute counters.

    A report takes the greatest of what stands and what comes, so a replay changes nothing. One partition a month.
    """

    __tablename__ = "proxy_usage_logs"
    __table_args__ = (
        PrimaryKeyConstraint("month_year", "boot_id", "tunnel_id", "hour", "price_id"),
        Index("ix_proxy_usage_logs_user_id_hour", "user_id", "hour"),
        Index("ix_proxy_usage_logs_chip_id_hour", "chip_id", "hour"),
        {"postgresql_partition_by": "RANGE (month_year)"},
    )

    id: Mapped[UUID] = mapped_column(default=new_id, server_default=text("gen_random_uuid()"))
    month_year: Mapped[date]
    boot_id: Mapped[UUID]
    tunnel_id: Mapped[int] = mapped_column(BigInteger)
    hour: Mapped[datetime]
    price_id: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[UUID]
    chip_id: Mapped[UUID]
    proxy_id: Mapped[UUID]
    provider_id: Mapped[UUID]
    assignment_id: Mapped[UUID]
    bytes_up: Mapped[Bytes]
    bytes_down: Mapped[Bytes]
    overhead: Mapped[Bytes]
    bytes_transferred: Mapped[Bytes]
    session_start: Mapped[datetime]
    session_end: Mapped[datetime]
    cost_per_gb: Mapped[Price]
    bytes_per_gb: Mapped[int] = mapped_column(BigInteger)
    cost: Mapped[Cost]
    is_demo: Mapped[bool] = mapped_column(default=False, server_default="false")


CustomerMonth = tuple[UUID, date]
"""A customer and the first day of a billing month."""


class UserProxyCost(Base):
    """A customer's month: what is committed, what is leased to gateways, and which thresholds were told.

    This is the row that every lease and report of the customer locks. ``plan_name`` and ``plan_price`` (in BRL) are
    what the customer had when the month was closed, at ``closed_at``: no later change of the plan touches the bill.
    """

    __tablename__ = "user_proxy_costs"
    __table_args__ = (
        Index("uq_user_proxy_costs_user_id_month_year", "user_id", "month_year", unique=True),
        CheckConstraint("total_bytes >= 0", name="total_not_negative"),
        CheckConstraint("leased_bytes >= 0", name="leased_not_negative"),
        Index("ix_user_proxy_costs_month_year", "month_year"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: Mapped[Id] = mapped_column(server_default=text("gen_random_uuid()"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    month_year: Mapped[date]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]
    leased_bytes: Mapped[Bytes]
    warned_at: Mapped[datetime | None]
    exhausted_at: Mapped[datetime | None]
    told_percent: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")  # beside 80 and 100
    last_updated: Mapped[datetime]
    plan_name: Mapped[str | None] = mapped_column(String(120))
    plan_price: Mapped[Decimal | None] = mapped_column(Numeric(12, 2))
    closed_at: Mapped[datetime | None]


RECENT: Final[Mapping[str, Any]] = {  # finds what changed lately in pages written lately, for next to nothing a write
    "postgresql_using": "brin",
    "postgresql_with": {"pages_per_range": 16, "autosummarize": "on"},
}


class ChipUsageMonth(Base):
    """A chip's month, so that lists need not add hours up. ``changed_at``: the last report that moved it."""

    __tablename__ = "chip_usage_months"
    __table_args__ = (
        PrimaryKeyConstraint("chip_id", "month_year"),
        Index("ix_chip_usage_months_user_id_month_year", "user_id", "month_year"),
        Index("ix_chip_usage_months_month_year", "month_year"),
        Index("ix_chip_usage_months_changed_at", "changed_at", **RECENT),
        {"postgresql_with": {"fillfactor": 60}},
    )

    chip_id: Mapped[UUID]
    month_year: Mapped[date]
    user_id: Mapped[UUID]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]
    changed_at: Mapped[datetime | None]


class UsagePriceMonth(Base):
    """A chip's month at one proxy and one price snapshot: what bills are made of. It outlives the ledger."""

    __tablename__ = "usage_price_months"
    __table_args__ = (
        PrimaryKeyConstraint("month_year", "chip_id", "proxy_id", "price_id"),
        Index("ix_usage_price_months_user_id_month_year", "user_id", "month_year"),
        Index("ix_usage_price_months_chip_id_month_year", "chip_id", "month_year"),
        Index("ix_usage_price_months_proxy_id", "proxy_id"),
        {"postgresql_with": {"fillfactor": 60}},
    )

    month_year: Mapped[date]
    chip_id: Mapped[UUID]
    proxy_id: Mapped[UUID]
    price_id: Mapped[int] = mapped_column(BigInteger)
    provider_id: Mapped[UUID]
    user_id: Mapped[UUID]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]


class UsageHour(Base):
    """A chip's clock hour at one provider: what charts read. ``changed_at``: the last report that moved it."""

    __tablename__ = "usage_hours"
    __table_args__ = (
        PrimaryKeyConstraint("chip_id", "provider_id", "hour"),
        Index("ix_usage_hours_user_id_hour", "user_id", "hour"),
        Index("ix_usage_hours_chip_id_hour", "chip_id", "hour"),
        Index("ix_usage_hours_hour", "hour"),
        Index("ix_usage_hours_changed_at", "changed_at", **RECENT),
        {"postgresql_with": {"fillfactor": 75}},
    )

    chip_id: Mapped[UUID]
    provider_id: Mapped[UUID]
    hour: Mapped[datetime]
    user_id: Mapped[UUID]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]
    changed_at: Mapped[datetime | None]


class ProxyUsageMonth(Base):
    """Not used any more: it stands for workers of the version before, beside which this one may run."""

    __tablename__ = "proxy_usage_months"
    __table_args__ = (PrimaryKeyConstraint("proxy_id", "user_id", "month_year"),)

    proxy_id: Mapped[UUID]
    user_id: Mapped[UUID]
    month_year: Mapped[date]
    total_bytes: Mapped[Bytes]


class ProxyUsageTotal(Base):
    """A proxy's bytes in all months before ``before``, so that proving its running total adds up two months only.

    Only the monitor writes it.
    """

    __tablename__ = "proxy_usage_totals"

    proxy_id: Mapped[UUID] = mapped_column(primary_key=True)
    before: Mapped[date]
    total_bytes: Mapped[Bytes]


class UsageCheckpoint(Base):
    """What a chip's month held before the billing day that begins at ``since``, as the monitor last proved it.

    From there on at most a day and a few hours are to be added up, however old the month. Only the monitor writes it.
    """

    __tablename__ = "usage_checkpoints"
    __table_args__ = (PrimaryKeyConstraint("chip_id", "month_year"),)

    chip_id: Mapped[UUID]
    month_year: Mapped[date]
    since: Mapped[datetime]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]


class GatewayBoot(Base):
    """One life of one gateway process. ``settled_at``: its last counters are in the ledger, its leases given back."""

    __tablename__ = "gateway_boots"

    id: Mapped[Id]
    host: Mapped[str] = mapped_column(String(253))
    pid: Mapped[int]
    port: Mapped[int]
    started_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column(index=True)
    stopped_at: Mapped[datetime | None]
    settled_at: Mapped[datetime | None]
    open_tunnels: Mapped[int] = mapped_column(default=0, server_default="0")
    is_demo: Mapped[bool] = mapped_column(default=False, server_default="false")


class QuotaLease(Base):
    """What one gateway boot may use of one customer's month. Both figures are cumulative over the boot's life.

    Outstanding = max(0, granted − used). An expired lease without a last report counts as spent until it is settled.
    """

    __tablename__ = "quota_leases"
    __table_args__ = (
        PrimaryKeyConstraint("boot_id", "user_id", "month_year"),
        Index("ix_quota_leases_user_id_month_year", "user_id", "month_year"),
        CheckConstraint("state IN ('open', 'released', 'expired')", name="state_known"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    boot_id: Mapped[UUID] = mapped_column(ForeignKey("gateway_boots.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    month_year: Mapped[date]
    granted_bytes: Mapped[Bytes]
    used_bytes: Mapped[Bytes]
    state: Mapped[Code] = mapped_column(default="open", server_default="open")
    expires_at: Mapped[datetime] = mapped_column(index=True)
    created_at: Mapped[datetime]

    @property
    def outstanding_bytes(self) -> int:
        return max(0, self.granted_bytes - self.used_bytes)


LEDGER_FILLED_PERCENT: Final = 80  # the rest of a page is for new versions of its rows: open tunnels go on counting
_known_partitions: set[date] = set()


def forget_partitions() -> None:
    """Ask the database again which months have one."""
    _known_partitions.clear()


def ensure_partition(db: Session, month: date) -> None:
    """Makes the ledger's partition of a month; harmless when it stands. Also called before every write."""
    if month in _known_partitions:
        return
    name = f"proxy_usage_logs_{month:%Y_%m}"
    if db.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is None:
        locked(db, "partitions")  # two reports of a new month may come at once
        db.execute(
            text(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF proxy_usage_logs"
                f" FOR VALUES FROM ('{month:%Y-%m-%d}') TO ('{next_month(month):%Y-%m-%d}')"
                f" WITH (fillfactor = {LEDGER_FILLED_PERCENT})"
            )
        )
    else:
        _known_partitions.add(month)  # it stands and is committed, so this process need not ask again
