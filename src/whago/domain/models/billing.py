"""What a vendor says that we used, beside what we metered."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Numeric, PrimaryKeyConstraint, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from whago.domain.models.base import Base, Bytes, Cost, Id


class ProviderBilling(Base):
    """How a provider's bill is read and judged. A provider without a row has the defaults.

    ``usage_tz``: the zone of the vendor's days. ``lag_min``: how late its figures are complete; None: as is known of
    the vendor. ``account``: the vendor's name of what is ours (sub-account, zone, plan). ``api_url``: where its API
    is, if not at the usual place. ``request_overhead_bytes``: what the vendor adds to each tunnel beyond the wire, as
    the calibration found.
    """

    __tablename__ = "provider_billing"
    __table_args__ = (
        CheckConstraint("lag_min BETWEEN 0 AND 4320", name="lag_range"),
        CheckConstraint("threshold_percent > 0", name="threshold_positive"),
        CheckConstraint("request_overhead_bytes >= 0", name="overhead_not_negative"),
    )

    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"), primary_key=True)
    usage_tz: Mapped[str] = mapped_column(String(60), default="UTC", server_default="UTC")
    lag_min: Mapped[int | None]
    threshold_percent: Mapped[Decimal] = mapped_column(Numeric(6, 3), default=Decimal(2), server_default="2")
    account: Mapped[str | None] = mapped_column(String(120))
    api_url: Mapped[str | None]
    transfer_url: Mapped[str | None]
    low_balance_bytes: Mapped[int | None] = mapped_column(BigInteger)
    request_overhead_bytes: Mapped[int] = mapped_column(default=0, server_default="0")
    reconcile_from: Mapped[date | None]
    asked_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(String(300))
    balance_bytes: Mapped[int | None] = mapped_column(BigInteger)
    balance_at: Mapped[datetime | None]

    @classmethod
    def usual(cls, provider_id: UUID) -> ProviderBilling:
        """A row with the defaults, not in the database yet."""
        return cls(
            provider_id=provider_id,
            usage_tz="UTC",
            threshold_percent=Decimal(2),
            request_overhead_bytes=0,
        )


class ProviderReading(Base):
    """A vendor's running counter at a moment, with ours at the same moment: what vendors without daily figures give.

    ``counter``: used (grows, may begin anew with a month) or left (shrinks, grows when traffic is bought).
    """

    __tablename__ = "provider_readings"
    __table_args__ = (
        CheckConstraint("counter IN ('used', 'left')", name="counter_known"),
        Index("ix_provider_readings_provider_id_at", "provider_id", "at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"))
    at: Mapped[datetime]
    counter: Mapped[str] = mapped_column(String(4))
    vendor_bytes: Mapped[int] = mapped_column(BigInteger)
    chip_bytes: Mapped[int] = mapped_column(BigInteger)
    house_bytes: Mapped[int] = mapped_column(BigInteger)


class ProviderUsageDay(Base):
    """One day of a vendor's bill beside our own figures. Days are the vendor's.

    ``expected_bytes``: what it should have billed: chips, house, and the calibrated overhead of each tunnel.
    ``verdict``: agrees, differs, or unjudged (too little traffic, or the source is too coarse).
    """

    __tablename__ = "provider_usage_days"
    __table_args__ = (
        PrimaryKeyConstraint("provider_id", "day"),
        CheckConstraint("source IN ('api', 'reading', 'csv')", name="source_known"),
        CheckConstraint("verdict IN ('agrees', 'differs', 'unjudged')", name="verdict_known"),
    )

    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"))
    day: Mapped[date]
    source: Mapped[str] = mapped_column(String(8))
    vendor_bytes: Mapped[int] = mapped_column(BigInteger)
    resolution_bytes: Mapped[Bytes]
    chip_bytes: Mapped[Bytes]
    house_bytes: Mapped[Bytes]
    tunnels: Mapped[int] = mapped_column(default=0, server_default="0")
    expected_bytes: Mapped[Bytes]
    difference_bytes: Mapped[Bytes]
    difference_percent: Mapped[Decimal | None] = mapped_column(Numeric(12, 3))
    difference_cost: Mapped[Cost]
    verdict: Mapped[str] = mapped_column(String(8))
    vendor_at: Mapped[datetime]
    compared_at: Mapped[datetime]


class Calibration(Base):
    """One calibration: known transfers, the vendor's figures around each, and the line through them.

    ``steps``: JSON of ``rules.calibration.Step``; ``fit``: of ``rules.calibration.Fit``. ``next_at``: when the clock
    goes on with it. ``problem``: why it was refused or given up, a code.
    """

    __tablename__ = "provider_calibrations"
    __table_args__ = (
        CheckConstraint("state IN ('running', 'done', 'refused', 'failed')", name="state_known"),
        Index("ix_provider_calibrations_provider_id_started_at", "provider_id", "started_at"),
    )

    id: Mapped[Id]
    provider_id: Mapped[UUID] = mapped_column(ForeignKey("proxy_providers.id"))
    state: Mapped[str] = mapped_column(String(8))
    started_at: Mapped[datetime]
    next_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    applied_at: Mapped[datetime | None]
    steps: Mapped[list[Any]] = mapped_column(JSONB, default=list, server_default="[]")
    fit: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    problem: Mapped[str | None] = mapped_column(String(60))
