"""Adding up the days that are over."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import Date, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models import UsageChipDay, UsageDay, UsageDayMark, UsageHour, UsageProviderDay
from whago.domain.rules.months import day_start
from whago.kit.db import locked, transaction

DAYS_BACK: Final = 62  # two months: what charts and the running month can ask for
LATE: Final = timedelta(minutes=10)  # a report that was being written while its day was added up is seen the next time


def roll_days(*, now: datetime, tz: ZoneInfo) -> int:
    """Adds up every day that is over and was not, or of which a late report has come since. Returns how many."""
    today = now.astimezone(tz).date()
    with transaction() as db:
        _forget_chips_before(db, today - timedelta(days=DAYS_BACK))
        due = _due(db, today, tz)
    for day in due:  # one transaction each: hours of reports are not held up by a month of catching up
        with transaction() as db:
            _roll(db, day, now, tz)
    return len(due)


def _due(db: Session, today: date, tz: ZoneInfo) -> list[date]:
    first = today - timedelta(days=DAYS_BACK)
    marks = {one.day: one.as_of for one in db.scalars(select(UsageDayMark))}
    partial = db.scalars(
        select(UsageDayMark.day).where(
            UsageDayMark.day >= first,
            UsageDayMark.chips_as_of.is_distinct_from(UsageDayMark.as_of)
            | UsageDayMark.providers_as_of.is_distinct_from(UsageDayMark.as_of),
        )
    )
    missing = {day for day in (first + timedelta(days=number) for number in range(DAYS_BACK)) if day not in marks}
    moved = _changed_since(db, max(marks.values()) - LATE, first, today, tz) if marks else {}
    late = {day for day, changed_at in moved.items() if day in marks and changed_at > marks[day] - LATE}
    return sorted(missing | late | set(partial))


def _changed_since(db: Session, since: datetime, first: date, today: date, tz: ZoneInfo) -> dict[date, datetime]:
    """Days before today with hours that moved lately, and when they last did."""
    day = func.date_trunc("day", UsageHour.hour, tz.key).label("day")
    query = (
        select(day, func.max(UsageHour.changed_at))
        .where(
            UsageHour.changed_at > since,
            UsageHour.hour >= day_start(first, tz),
            UsageHour.hour < day_start(today, tz),
        )
        .group_by("day")
    )
    return {moment.astimezone(tz).date(): changed_at for moment, changed_at in db.execute(query)}


def _roll(db: Session, day: date, now: datetime, tz: ZoneInfo) -> None:
    locked(db, f"usage day {day}")
    _add_up(db, UsageDay, "provider_id", day, tz)
    _add_up(db, UsageChipDay, "chip_id", day, tz)
    _add_up_providers(db, day)
    total, cost = db.execute(
        select(
            func.coalesce(func.sum(UsageProviderDay.total_bytes), 0),
            func.coalesce(func.sum(UsageProviderDay.total_cost), 0),
        ).where(UsageProviderDay.day == day)
    ).one()
    mark = {"as_of": now, "chips_as_of": now, "providers_as_of": now, "total_bytes": int(total), "total_cost": cost}
    db.execute(insert(UsageDayMark).values(day=day, **mark).on_conflict_do_update(index_elements=["day"], set_=mark))


def _add_up(db: Session, table: type[UsageDay | UsageChipDay], ident: str, day: date, tz: ZoneInfo) -> None:
    """Each customer's rows are written side by side, so that a page of the disk or two hold their day."""
    key = getattr(UsageHour, ident)
    sums = (
        select(
            literal(day, Date()),
            UsageHour.user_id,
            key,
            func.sum(UsageHour.total_bytes),
            func.sum(UsageHour.total_cost),
        )
        .where(UsageHour.hour >= day_start(day, tz), UsageHour.hour < day_start(day + timedelta(days=1), tz))
        .group_by(UsageHour.user_id, key)
        .order_by(UsageHour.user_id, key)
    )
    db.execute(delete(table).where(table.day == day))
    db.execute(insert(table).from_select(["day", "user_id", ident, "total_bytes", "total_cost"], sums))


def _add_up_providers(db: Session, day: date) -> None:
    sums = (
        select(
            literal(day, Date()), UsageDay.provider_id, func.sum(UsageDay.total_bytes), func.sum(UsageDay.total_cost)
        )
        .where(UsageDay.day == day)
        .group_by(UsageDay.provider_id)
    )
    db.execute(delete(UsageProviderDay).where(UsageProviderDay.day == day))
    db.execute(insert(UsageProviderDay).from_select(["day", "provider_id", "total_bytes", "total_cost"], sums))


def _forget_chips_before(db: Session, first: date) -> None:
    """Ten thousand rows a day need not be kept for ever: no chart of chips goes back further."""
    db.execute(delete(UsageChipDay).where(UsageChipDay.day < first))
    outdated = (UsageDayMark.day < first, UsageDayMark.chips_as_of.is_not(None))
    db.execute(update(UsageDayMark).where(*outdated).values(chips_as_of=None))
