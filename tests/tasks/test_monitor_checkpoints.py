"""The days that ended are proved once: what that saves, and what happens when it is wrong or something comes late."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from sqlalchemy import select

from tests.factories import NOW, TZ
from tests.tasks.test_monitor import MONTH, Traffic, checked, everything, execute
from whago.domain.actions.monitor import Checked
from whago.domain.models import UsageCheckpoint
from whago.domain.rules.months import billing_day
from whago.kit import db


def checkpoints() -> list[tuple[date, datetime, int]]:
    with db.transaction() as tx:
        rows = tx.scalars(select(UsageCheckpoint).order_by(UsageCheckpoint.month_year, UsageCheckpoint.since))
        return [(one.month_year, one.since, one.total_bytes) for one in rows]


class Days(Traffic):
    """One chip that moves 1,000 bytes every noon; the monitor looks five minutes later."""

    def __init__(self) -> None:
        super().__init__(chips=1)
        self.now = NOW

    def day(self) -> Checked:
        self.now += timedelta(days=1)
        self.report(self.usage(self.chips[0], 1000, at=self.now, tunnel=self.now.day), now=self.now)
        return self.look()

    def look(self) -> Checked:
        return checked(since=self.now - timedelta(minutes=5), now=self.now)


def test_the_days_that_ended_become_a_checkpoint(database: str) -> None:
    days = Days()
    assert [days.day().repaired for _ in range(3)] == [[], [], []]
    today = billing_day(days.now, TZ)
    assert checkpoints() == [(MONTH, today, 2000)]
    days.now = today + timedelta(days=1, hours=1)  # just after midnight yesterday may still grow
    days.report(days.usage(days.chips[0], 7, at=days.now - timedelta(hours=2), tunnel=90), now=days.now)
    assert days.look().repaired == []
    assert checkpoints() == [(MONTH, today, 2000)]


def test_a_late_report_before_the_checkpoint_is_added_up_and_moves_it(database: str) -> None:
    days = Days()
    for _ in range(3):
        days.day()
    late = days.usage(days.chips[0], 500, at=days.now - timedelta(days=2), tunnel=99)
    days.report(late, now=days.now)
    assert days.look().repaired == []
    assert checkpoints() == [(MONTH, billing_day(days.now, TZ), 2500)]


def test_a_checkpoint_that_is_wrong_is_noticed_and_made_anew(database: str) -> None:
    days = Days()
    for _ in range(3):
        days.day()
    right, totals = checkpoints(), everything()
    execute("UPDATE usage_checkpoints SET total_bytes = total_bytes + 1")
    assert days.look().repaired == []  # the aggregates are right
    assert days.look().repaired == []
    assert (checkpoints(), everything()) == (right, totals)


def test_a_difference_in_an_old_hour_is_found_by_the_next_look_at_the_whole(database: str) -> None:
    days = Days()
    for _ in range(3):
        days.day()
    totals = everything()
    execute("UPDATE usage_hours SET total_bytes = 1 WHERE hour < :hour", hour=billing_day(days.now, TZ))
    assert days.look().repaired == []
    assert {one.aggregate for one in checked(now=days.now).repaired} == {"usage_hours"}
    assert everything() == totals
