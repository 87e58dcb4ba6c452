"""Which days and months a calendar clock runs for."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from whago.domain.rules.periods import CAUGHT_UP_AT_ONCE, Missed, Period, due_periods

TZ = ZoneInfo("America/Sao_Paulo")  # three hours behind UTC
HOUR = timedelta(hours=1)


def due(period: Period, last: date | None, now: datetime, missed: Missed = Missed.CATCH_UP) -> list[date]:
    return due_periods(period, last, now=now, tz=TZ, grace=HOUR, missed=missed)


def test_a_clock_that_never_ran_begins_with_the_newest_period() -> None:
    now = datetime(2026, 11, 15, 15, tzinfo=UTC)
    assert due(Period.DAY, None, now) == [date(2026, 11, 14)]
    assert due(Period.MONTH, None, now) == [date(2026, 10, 1)]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (datetime(2026, 12, 1, 2, 59, tzinfo=UTC), []),  # in the billing zone it is still November
        (datetime(2026, 12, 1, 3, 59, tzinfo=UTC), []),  # over, but late reports may come
        (datetime(2026, 12, 1, 4, 0, tzinfo=UTC), [date(2026, 11, 1)]),
    ],
)
def test_a_month_is_due_when_it_has_ended_where_it_is_billed_and_the_grace_is_over(
    now: datetime, expected: list[date]
) -> None:
    assert due(Period.MONTH, date(2026, 10, 1), now) == expected


def test_what_was_done_is_not_due_again() -> None:
    now = datetime(2026, 11, 15, 15, tzinfo=UTC)
    assert due(Period.DAY, date(2026, 11, 14), now) == []
    assert due(Period.DAY, date(2026, 12, 1), now) == []  # the wall clock was set back


def test_missed_periods_are_caught_up_the_oldest_first_over_a_year_s_end() -> None:
    now = datetime(2027, 2, 3, 12, tzinfo=UTC)
    assert due(Period.MONTH, date(2026, 10, 1), now) == [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
    assert due(Period.DAY, date(2027, 1, 30), now) == [date(2027, 1, 31), date(2027, 2, 1), date(2027, 2, 2)]


def test_or_skipped_where_the_newest_one_does() -> None:
    now = datetime(2027, 2, 3, 12, tzinfo=UTC)
    assert due(Period.DAY, date(2027, 1, 1), now, Missed.SKIP) == [date(2027, 2, 2)]


def test_after_a_long_silence_a_tick_works_off_only_so_many() -> None:
    now = datetime(2026, 11, 15, 15, tzinfo=UTC)
    first = due(Period.DAY, date(2026, 1, 1), now)
    assert (len(first), first[0]) == (CAUGHT_UP_AT_ONCE, date(2026, 1, 2))
    assert due(Period.DAY, first[-1], now)[0] == first[-1] + timedelta(days=1)
