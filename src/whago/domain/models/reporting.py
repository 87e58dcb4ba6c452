"""Reports that take a while, and months of the ledger that were exported and dropped."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, LargeBinary, Numeric, String, text
from sqlalchemy.orm import Mapped, mapped_column

from whago.domain.models.base import Base, Bytes, Code, Id


class RunState(StrEnum):
    """queued → running → done → expired; or failed; or cancelled on request, at whatever point."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


OPEN_STATES = (RunState.QUEUED, RunState.RUNNING)


class ReportRun(Base):
    """A report that a worker makes while its reader waits, leaves or comes back. ``content`` is a gzipped CSV file.

    It is kept in the database, not in a folder, because web and worker need not share a machine.
    """

    __tablename__ = "report_runs"
    __table_args__ = (
        CheckConstraint("state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')", name="state_known"),
        Index("ix_report_runs_open", "created_at", postgresql_where=text("state IN ('queued', 'running')")),
        Index("ix_report_runs_requested_by_created_at", "requested_by", "created_at"),
        Index("ix_report_runs_expires_at", "expires_at", postgresql_where=text("content IS NOT NULL")),
    )

    id: Mapped[Id]
    kind: Mapped[Code]
    month_year: Mapped[date]
    language: Mapped[str | None] = mapped_column(String(5))  # None: for programs
    requested_by: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    state: Mapped[str] = mapped_column(String(10), default=RunState.QUEUED, server_default="queued")
    rows_done: Mapped[int] = mapped_column(default=0, server_default="0")
    rows_total: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(String(200))
    content: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


class ArchiveState(StrEnum):
    """exporting → exported (file complete and read back) → dropped."""

    EXPORTING = "exporting"
    EXPORTED = "exported"
    DROPPED = "dropped"


class LedgerArchive(Base):
    """A month of the ledger on its way into a file, or there. While a row stands the month takes no more usage.

    ``row_count``, ``total_bytes`` and ``total_cost`` are those of the file, read back. ``late_reports`` counts what
    came for the month after that and was set aside.
    """

    __tablename__ = "ledger_archives"
    __table_args__ = (CheckConstraint("state IN ('exporting', 'exported', 'dropped')", name="state_known"),)

    month_year: Mapped[date] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(10))
    file_name: Mapped[str | None] = mapped_column(String(120))
    sha256: Mapped[str | None] = mapped_column(String(64))
    row_count: Mapped[int | None] = mapped_column(BigInteger)
    total_bytes: Mapped[int | None] = mapped_column(BigInteger)
    total_cost: Mapped[Decimal | None] = mapped_column(Numeric(30, 15))
    late_reports: Mapped[int] = mapped_column(default=0, server_default="0")
    late_bytes: Mapped[Bytes]
    begun_at: Mapped[datetime]
    exported_at: Mapped[datetime | None]
    dropped_at: Mapped[datetime | None]
