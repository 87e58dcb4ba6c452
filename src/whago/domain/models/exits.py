"""What is kept of exit IPs beside the observations themselves: shared ones, and each provider's days."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import Index, PrimaryKeyConstraint, text
from sqlalchemy.dialects.postgresql import INET
from sqlalchemy.orm import Mapped, mapped_column

from whago.domain.models.base import Base, Id


class ExitIpDuplicate(Base):
    """Two active assignments that were seen on one exit IP at the same time. ``over_at`` None: they still are.

    ``rotated_at``: when the younger one was given another exit, once. Without foreign keys: the fact outlives chips
    whose creation was taken back.
    """

    __tablename__ = "exit_ip_duplicates"
    __table_args__ = (
        Index(
            "uq_exit_ip_duplicates_open",
            "exit_ip",
            "younger_assignment_id",
            unique=True,
            postgresql_where=text("over_at IS NULL"),
        ),
        Index("ix_exit_ip_duplicates_younger_provider_id_found_at", "younger_provider_id", "found_at"),
    )

    id: Mapped[Id]
    exit_ip: Mapped[str] = mapped_column(INET)
    older_assignment_id: Mapped[UUID]
    younger_assignment_id: Mapped[UUID]
    younger_chip_id: Mapped[UUID]
    younger_provider_id: Mapped[UUID]
    found_at: Mapped[datetime]
    rotated_at: Mapped[datetime | None]
    over_at: Mapped[datetime | None]


class ExitIpDay(Base):
    """A provider's day: how many chips were on it, and how many of them kept one exit IP. Days of the billing zone.

    It holds no address, so it may be kept for ever, long after the observations themselves are gone.
    """

    __tablename__ = "exit_ip_days"
    __table_args__ = (PrimaryKeyConstraint("provider_id", "day"),)

    provider_id: Mapped[UUID]
    day: Mapped[date]
    chip_days: Mapped[int]
    steady_chip_days: Mapped[int]


class ExitIpLives(Base):
    """How long a provider's exit IPs lived in the window before ``as_of``; ``changes``: those lost unasked.

    The median is at least so long when ``is_least``; None: no address was seen. Reading every address at every
    refresh of a page would take a third of a second with 10,000 chips.
    """

    __tablename__ = "exit_ip_lives"

    provider_id: Mapped[UUID] = mapped_column(primary_key=True)
    changes: Mapped[int]
    median_life_s: Mapped[int | None]
    is_least: Mapped[bool]
    as_of: Mapped[datetime]
