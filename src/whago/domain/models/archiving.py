"""Usage that comes for a month whose ledger is gone: it cannot be told from a repetition, so it is set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models.ledger import Metered
from whago.domain.models.reporting import ArchiveState, LedgerArchive
from whago.domain.rules.months import billing_month, previous_month

Usage = TypeVar("Usage", bound=Metered)


def without_archived(
    db: Session, usages: Sequence[Usage], months: Mapping[datetime, date], *, now: datetime, tz: ZoneInfo
) -> Sequence[Usage]:
    """The usages whose months still have their ledger. What is left out is counted in the month's archive.

    A closed month's bill stays as it is: those rows may be in it already. Costs nothing for the two open months.
    """
    old = {month for month in months.values() if month < previous_month(billing_month(now, tz))}
    if not old:
        return usages
    archives = {
        one.month_year: one
        for one in db.scalars(
            select(LedgerArchive)
            .where(LedgerArchive.month_year.in_(old))
            .order_by(LedgerArchive.month_year)
            .with_for_update()  # whoever drops the month waits for us, and finds what we add to it
        )
        if one.state == ArchiveState.DROPPED
    }
    late: Counter[date] = Counter()
    for usage in usages:
        late[months[usage.hour]] += usage.bytes_up + usage.bytes_down + usage.overhead
    for month, archive in archives.items():
        archive.late_reports += 1
        archive.late_bytes += late[month]
    return [usage for usage in usages if months[usage.hour] not in archives]
