"""Months of the ledger that were kept long enough: exported, proved, dropped. Rollups stay for ever.

Every step can be cut off and repeated: the state of a month is a row, and the row says what its file must hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from whago.domain.models import ArchiveState, ChipUsageMonth, LedgerArchive, UsageLog, UsagePriceMonth, UserProxyCost
from whago.domain.rules.months import billing_month, previous_month
from whago.errors import WhagoError
from whago.kit.db import transaction

LEAST_MONTHS: Final = 2  # the monitor proves this month and the last one against the ledger
COUNT_TIMEOUT_S: Final = 600  # adding up a partition of a hundred million rows
DROP_WAIT_S: Final = 3  # for reports to let go of the ledger: they wait behind us meanwhile


@dataclass(frozen=True, slots=True)
class LedgerSums:
    """What a month's ledger, or its file, holds."""

    rows: int
    total_bytes: int
    total_cost: Decimal


@dataclass(frozen=True, slots=True)
class Archive:
    """A month on its way out. ``sums``, ``file_name`` and ``sha256`` are those of its file, once it is complete."""

    month: date
    is_exported: bool
    file_name: str | None
    sha256: str | None
    sums: LedgerSums | None


def months_to_archive(*, keep_months: int, now: datetime, tz: ZoneInfo) -> Sequence[date]:
    """The months with a ledger that are older than the ``keep_months`` newest, the running one included; oldest first.

    A month whose closing has not run yet is left out: its bill is not fixed.
    """
    kept = billing_month(now, tz)
    for _ in range(max(keep_months, LEAST_MONTHS) - 1):
        kept = previous_month(kept)
    with transaction() as db:
        names = db.scalars(
            text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'proxy_usage_logs'::regclass")
        ).all()
        old = sorted(month for month in map(_month_of, names) if month < kept)
        return [month for month in old if _is_closed(db, month)]


def begin_archive(month: date, *, now: datetime) -> Archive:
    """Where the month stands; makes its row when there is none.

    Raises WhagoError("ledger_differs") when the rollups are not the sum of the ledger: it is the only proof then.
    """
    with transaction() as db:
        row = db.get(LedgerArchive, month, with_for_update=True)
        if row is None:
            if not _agrees(db, month, ledger_sums(db, month)):
                raise WhagoError("ledger_differs", month=f"{month:%Y-%m}")
            row = LedgerArchive(month_year=month, state=ArchiveState.EXPORTING, begun_at=now)
            db.add(row)
        return _archive(row)


def keep_export(month: date, *, file_name: str, sha256: str, sums: LedgerSums, now: datetime) -> None:
    """The file is complete, was read back, and holds ``sums``."""
    with transaction() as db:
        row = db.get_one(LedgerArchive, month, with_for_update=True)
        row.state, row.exported_at = ArchiveState.EXPORTED, now
        row.file_name, row.sha256 = file_name, sha256
        row.row_count, row.total_bytes, row.total_cost = sums.rows, sums.total_bytes, sums.total_cost


def export_again(month: date) -> None:
    """The file is not what it should be, or the month has moved since."""
    with transaction() as db:
        row = db.get_one(LedgerArchive, month, with_for_update=True)
        if row.state == ArchiveState.EXPORTED:
            row.state, row.file_name, row.sha256 = ArchiveState.EXPORTING, None, None


def drop_month(month: date, *, now: datetime) -> bool:
    """Drops the ledger of an exported month. False: it holds something else than its file, or rollups than both.

    Raises WhagoError("conflict") when reports did not let go of the ledger in time: nothing happened, try later.
    """
    with transaction() as db:
        row = db.get_one(LedgerArchive, month, with_for_update=True)
        if row.state != ArchiveState.EXPORTED:
            return row.state == ArchiveState.DROPPED
        db.execute(text(f"SET LOCAL lock_timeout = '{DROP_WAIT_S}s'"))
        db.execute(text(f"LOCK TABLE {partition_of(month)} IN SHARE MODE"))  # nobody writes, everybody reads
        filed = LedgerSums(row.row_count or 0, row.total_bytes or 0, row.total_cost or Decimal(0))
        if ledger_sums(db, month) != filed or not _agrees(db, month, filed):
            return False
        db.execute(text(f"DROP TABLE {partition_of(month)}"))
        row.state, row.dropped_at = ArchiveState.DROPPED, now
        return True


def partition_of(month: date) -> str:
    return f"proxy_usage_logs_{month:%Y_%m}"


def ledger_sums(db: Session, month: date) -> LedgerSums:
    """Adds the month's ledger up, inside the caller's transaction."""
    db.execute(text(f"SET LOCAL statement_timeout = '{COUNT_TIMEOUT_S}s'"))
    rows, used, cost = db.execute(
        select(
            func.count(),
            func.coalesce(func.sum(UsageLog.bytes_transferred), 0),
            func.coalesce(func.sum(UsageLog.cost), 0),
        ).where(UsageLog.month_year == month)
    ).one()
    return LedgerSums(rows, int(used), cost)


def _agrees(db: Session, month: date, sums: LedgerSums) -> bool:
    """Whether the rollups that bills are made of hold what the ledger held."""
    rollups = UsagePriceMonth, ChipUsageMonth, UserProxyCost
    return all(
        db.execute(
            select(func.coalesce(func.sum(table.total_bytes), 0), func.coalesce(func.sum(table.total_cost), 0)).where(
                table.month_year == month
            )
        ).one()
        == (sums.total_bytes, sums.total_cost)
        for table in rollups
    )


def _is_closed(db: Session, month: date) -> bool:
    used = select(UserProxyCost.id).where(UserProxyCost.month_year == month, UserProxyCost.total_bytes > 0)
    return db.scalar(used.where(UserProxyCost.closed_at.is_(None)).limit(1)) is None


def _month_of(partition: str) -> date:
    year, month = partition.rsplit("_", 2)[-2:]
    return date(int(year), int(month), 1)


def _archive(row: LedgerArchive) -> Archive:
    is_exported = row.state == ArchiveState.EXPORTED
    sums = LedgerSums(row.row_count or 0, row.total_bytes or 0, row.total_cost or Decimal(0)) if is_exported else None
    return Archive(row.month_year, is_exported, row.file_name, row.sha256, sums)
