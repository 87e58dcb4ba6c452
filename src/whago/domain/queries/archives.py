"""Months of the ledger that left the database, or are about to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import select

from whago.domain.models import LedgerArchive
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class ArchiveView:
    """What the file holds; ``late_…``: reports that came after the month was gone, and were set aside."""

    month: date
    state: str
    file_name: str | None
    sha256: str | None
    row_count: int | None
    total_bytes: int | None
    total_cost: Decimal | None
    late_reports: int
    late_bytes: int
    begun_at: datetime
    exported_at: datetime | None
    dropped_at: datetime | None


def archives() -> Sequence[ArchiveView]:
    """The latest month first."""
    with reading() as db:
        return [
            ArchiveView(
                one.month_year,
                one.state,
                one.file_name,
                one.sha256,
                one.row_count,
                one.total_bytes,
                one.total_cost,
                one.late_reports,
                one.late_bytes,
                one.begun_at,
                one.exported_at,
                one.dropped_at,
            )
            for one in db.scalars(select(LedgerArchive).order_by(LedgerArchive.month_year.desc()))
        ]
