"""Days that are over, added up once: what charts of all customers read instead of every chip's every hour."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Index, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from whago.domain.models.base import Base, Bytes, Cost


class UsageDay(Base):
    """A customer's day of the billing zone at one provider."""

    __tablename__ = "usage_days"
    __table_args__ = (PrimaryKeyConstraint("user_id", "day", "provider_id"), Index("ix_usage_days_day", "day"))

    day: Mapped[date]
    user_id: Mapped[UUID]
    provider_id: Mapped[UUID]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]


class UsageChipDay(Base):
    """A chip's day of the billing zone, of the last two months; a customer's day lies together on the disk."""

    __tablename__ = "usage_chip_days"
    __table_args__ = (PrimaryKeyConstraint("user_id", "day", "chip_id"), Index("ix_usage_chip_days_day", "day"))

    day: Mapped[date]
    user_id: Mapped[UUID]
    chip_id: Mapped[UUID]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]


class UsageProviderDay(Base):
    """A provider's day of the billing zone, of all customers."""

    __tablename__ = "usage_provider_days"
    __table_args__ = (PrimaryKeyConstraint("day", "provider_id"),)

    day: Mapped[date]
    provider_id: Mapped[UUID]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]


class UsageDayMark(Base):
    """A day that was added up, as it was known at ``as_of``, with the sum of all customers.

    A day without a mark was not added up yet: readers then add up its hours. Its chips' and its
    providers' days stand only if ``chips_as_of`` and ``providers_as_of`` are ``as_of``: a worker of a version before,
    which knows nothing of them, moves ``as_of`` alone.
    """

    __tablename__ = "usage_day_marks"

    day: Mapped[date] = mapped_column(primary_key=True)
    as_of: Mapped[datetime]
    chips_as_of: Mapped[datetime | None]
    providers_as_of: Mapped[datetime | None]
    total_bytes: Mapped[Bytes]
    total_cost: Mapped[Cost]
