"""Clocks that run once for each day or month, what becomes of those they missed, and what people see of all clocks."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.conftest import SECRET
from tests.factories import NOW, TZ
from whago.domain.actions.clock_runs import KEEP_RUNS, last_period, trim_runs
from whago.domain.models import ClockRun
from whago.domain.queries.system import clock_states, last_successes
from whago.domain.rules.periods import Missed, Period
from whago.kit import clock as wall
from whago.kit import db
from whago.kit.crypto import Vault
from whago.tasks.clock import CalendarClock, Clock, Counts, Outcome, Tools, register, run_clock
from whago.tasks.metrics import ClockMetrics
from whago.tasks.table import all_clocks
from whago.tasks.upkeep import beat


@pytest.fixture
def tools(database: str) -> Tools:
    return Tools(Vault([SECRET]), TZ)


def all_runs() -> list[ClockRun]:
    with db.transaction() as tx:
        return list(tx.scalars(select(ClockRun).order_by(ClockRun.id)))


class Calendar:
    """A calendar clock that writes down for which days it ran, and fails for those in ``bad``."""

    def __init__(self, missed: Missed = Missed.CATCH_UP) -> None:
        self.ran: list[date] = []
        self.bad: set[date] = set()
        self.clock = CalendarClock("days", every_s=60, work=self._work, period=Period.DAY, missed=missed)

    def _work(self, _tools: Tools, _now: datetime, period: date) -> Counts:
        self.ran.append(period)
        if period in self.bad:
            raise ValueError("no paper")
        return {"pages": 1}


def yesterday() -> date:
    return wall.now().astimezone(TZ).date() - timedelta(days=1)


def done(clock: str, period: date) -> None:
    with db.transaction() as tx:
        tx.add(ClockRun(clock=clock, started_at=NOW, ended_at=NOW, period=period))


def test_a_calendar_clock_runs_once_for_a_day_however_often_it_ticks(tools: Tools) -> None:
    calendar = Calendar()
    outcomes = [run_clock(calendar.clock, tools, ClockMetrics()) for _ in range(3)]
    assert outcomes == [Outcome.DONE, Outcome.NOT_DUE, Outcome.NOT_DUE]
    assert calendar.ran == [yesterday()]
    assert [(run.period, run.counts, run.error) for run in all_runs()] == [(yesterday(), {"pages": 1}, None)]


def test_missed_days_are_caught_up_each_with_a_run_of_its_own(tools: Tools) -> None:
    calendar = Calendar()
    done("days", yesterday() - timedelta(days=3))
    assert run_clock(calendar.clock, tools, ClockMetrics()) is Outcome.DONE
    assert calendar.ran == [yesterday() - timedelta(days=ago) for ago in (2, 1, 0)]
    assert [run.period for run in all_runs()][1:] == calendar.ran


def test_missed_days_are_skipped_where_the_table_says_so(tools: Tools) -> None:
    calendar = Calendar(Missed.SKIP)
    done("days", yesterday() - timedelta(days=3))
    assert run_clock(calendar.clock, tools, ClockMetrics()) is Outcome.DONE
    assert calendar.ran == [yesterday()]


def test_a_day_that_failed_is_tried_again_before_the_next_one(tools: Tools) -> None:
    calendar = Calendar()
    done("days", yesterday() - timedelta(days=2))
    calendar.bad = {yesterday() - timedelta(days=1)}
    assert run_clock(calendar.clock, tools, ClockMetrics()) is Outcome.FAILED
    assert calendar.ran == [yesterday() - timedelta(days=1)]
    calendar.bad.clear()
    assert run_clock(calendar.clock, tools, ClockMetrics()) is Outcome.DONE
    assert calendar.ran[1:] == [yesterday() - timedelta(days=1), yesterday()]


def test_trimming_keeps_the_knowledge_of_the_last_period(tools: Tools) -> None:
    calendar = Calendar()
    done("days", yesterday() - timedelta(days=1))
    run_clock(calendar.clock, tools, ClockMetrics())
    trim_runs(now=wall.now() + KEEP_RUNS * 10)
    assert last_period("days") == yesterday()
    assert run_clock(calendar.clock, tools, ClockMetrics()) is Outcome.NOT_DUE


def test_people_see_the_whole_table_also_what_never_ran(tools: Tools) -> None:
    calendar = Calendar()
    clocks = (Clock("quick", 60, beat), calendar.clock, Clock("never", 3600, beat))
    register((*clocks, Clock("gone", 60, beat)))
    register(clocks)
    run_clock(clocks[0], tools, ClockMetrics())
    calendar.bad = {yesterday()}
    run_clock(calendar.clock, tools, ClockMetrics())
    quick, days, never = clock_states(now=wall.now())
    assert (quick.clock, quick.every_s, quick.period_kind, quick.missed) == ("quick", 60, None, "skip")
    assert quick.last_success_at == quick.last_started_at
    assert not quick.is_late
    assert (days.period_kind, days.missed, days.last_error) == ("day", "catch_up", "ValueError: no paper")
    assert (days.last_success_at, days.is_late) == (None, True)
    assert (never.last_started_at, never.last_success_at, never.is_late) == (None, None, True)
    assert [one.is_late for one in clock_states(now=wall.now() + timedelta(minutes=4))] == [True, True, True]


def test_the_metric_shows_the_last_success_of_every_worker_s_clocks(tools: Tools) -> None:
    metrics = ClockMetrics(last_successes)
    name = "whago_clock_last_success_timestamp_seconds"
    with db.transaction() as tx:
        tx.add(ClockRun(clock="elsewhere", started_at=NOW, ended_at=NOW))
        tx.add(ClockRun(clock="elsewhere", started_at=NOW + timedelta(minutes=1), ended_at=NOW, error="failed"))
    assert metrics.registry.get_sample_value(name, {"clock": "elsewhere"}) == NOW.timestamp()
    url = db.engine().url.render_as_string(hide_password=False)
    db.connect("postgresql://nobody@127.0.0.1:1/none")
    try:
        assert metrics.registry.get_sample_value(name, {"clock": "elsewhere"}) == NOW.timestamp()
    finally:
        db.engine().dispose()
        db.connect(url)


def test_the_reports_of_the_table_are_caught_up_and_everything_else_is_skipped() -> None:
    caught_up = {one.name: one.period for one in all_clocks() if one.missed is Missed.CATCH_UP}
    assert caught_up == {"daily_report": Period.DAY, "monthly_report": Period.MONTH}
    skipped = {one.name for one in all_clocks() if one.missed is Missed.SKIP}
    assert {"heartbeat", "usage_monitor", "usage_audit", "partitions", "retention", "deliveries"} <= skipped
