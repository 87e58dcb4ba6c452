"""What a tick does: one at a time, on record, and what each clock finds and changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_chip, make_provider, make_proxy, make_user
from whago.domain.actions.clock_runs import (
    KEEP_FAILURES,
    KEEP_RUNS,
    begin_run,
    end_run,
    last_success,
    only_one,
    trim_runs,
)
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.pool import delete_proxy
from whago.domain.models import Assignment, Chip, ChipStatus, ClockRun, ExitIpObservation, Proxy
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.kit.ids import new_id
from whago.simulator import SimulatedProvider
from whago.tasks.app import make_app
from whago.tasks.clock import Clock, Counts, Outcome, Tools, run_clock
from whago.tasks.exit_ips import ExitWatch
from whago.tasks.health import sweep
from whago.tasks.metrics import ClockMetrics
from whago.tasks.pool import serve_waiting_chips
from whago.tasks.table import all_clocks
from whago.tasks.upkeep import beat, look_for_silent_gateways
from whago.tasks.usage import monitor

PAGE = "http://ip.simulated.test/json"


@pytest.fixture
def tools(database: str) -> Tools:
    return Tools(Vault([SECRET]), TZ, allow_private_upstreams=True)


def tick(tools: Tools, work: Callable[[Tools, datetime], Counts], *, every_s: int = 60, name: str = "test") -> Outcome:
    return run_clock(Clock(name, every_s=every_s, work=work), tools, ClockMetrics())


def all_runs() -> list[ClockRun]:
    with db.transaction() as tx:
        return list(tx.scalars(select(ClockRun).order_by(ClockRun.id)))


def test_a_run_is_on_record_with_its_counts(tools: Tools) -> None:
    metrics = ClockMetrics()
    assert not metrics.is_ready
    assert run_clock(Clock("test", 60, lambda *_: {"found": 3}), tools, metrics) is Outcome.DONE
    (run,) = all_runs()
    assert (run.clock, run.counts, run.error) == ("test", {"found": 3}, None)
    assert run.ended_at is not None
    assert run.ended_at >= run.started_at
    assert last_success("test") == run.started_at
    assert metrics.is_ready
    assert metrics.registry.get_sample_value("whago_clock_count", {"clock": "test", "what": "found"}) == 3


def test_a_clock_that_ran_just_now_is_not_due(tools: Tools) -> None:
    assert [tick(tools, beat) for _ in range(3)] == [Outcome.DONE, Outcome.NOT_DUE, Outcome.NOT_DUE]
    assert tick(tools, beat, every_s=0) is Outcome.DONE
    assert tick(tools, beat, name="another") is Outcome.DONE
    assert len(all_runs()) == 3


def test_a_failure_is_recorded_and_the_next_tick_runs(tools: Tools) -> None:
    def broken(*_: object) -> Counts:
        raise ValueError("no such thing\nsecond line")

    assert tick(tools, broken) is Outcome.FAILED
    assert tick(tools, beat) is Outcome.DONE
    assert [run.error for run in all_runs()] == ["ValueError: no such thing", None]


def test_the_record_of_a_database_error_holds_no_parameters(tools: Tools) -> None:
    def broken(*_: object) -> Counts:
        with db.transaction() as tx:
            tx.execute(text("SELECT CAST(:sealed AS integer)"), {"sealed": "s3cret"})
        return {}

    def refused(*_: object) -> Counts:
        raise WhagoError("no_healthy_proxy")

    assert tick(tools, broken, name="one") is Outcome.FAILED
    assert tick(tools, refused, name="two") is Outcome.FAILED
    first, second = (run.error for run in all_runs())
    assert first is not None
    assert "InvalidTextRepresentation" in first
    assert second == "no_healthy_proxy"


def test_two_ticks_at_once_run_once(tools: Tools) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(*_: object) -> Counts:
        inside.set()
        assert leave.wait(60)
        return {}

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(tick, tools, slow, every_s=0)
        assert inside.wait(60)
        assert tick(tools, beat, every_s=0) is Outcome.OVERLAP
        assert tick(tools, beat, every_s=0, name="another") is Outcome.DONE
        leave.set()
        assert first.result(60) is Outcome.DONE
    assert tick(tools, beat, every_s=0) is Outcome.DONE


def test_a_run_whose_worker_died_is_closed_by_the_next(tools: Tools) -> None:
    begin_run("test", now=NOW, not_within=timedelta(0))
    run_id = begin_run("test", now=NOW + timedelta(seconds=1), not_within=timedelta(hours=1))
    assert run_id is not None
    end_run(run_id, counts={}, error=None, now=NOW + timedelta(seconds=2))
    lost, good = all_runs()
    assert (lost.error, lost.ended_at) == ("the worker ended before the run did", good.started_at)
    assert begin_run("test", now=NOW + timedelta(minutes=1), not_within=timedelta(hours=1)) is None


def test_the_lock_is_free_after_a_failure(tools: Tools) -> None:
    def work() -> None:
        with only_one("test") as mine:
            assert mine
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        work()
    with only_one("test") as mine:
        assert mine


def test_without_a_database_a_tick_is_only_told(tools: Tools) -> None:
    url = db.engine().url.render_as_string(hide_password=False)
    metrics = ClockMetrics()
    db.connect("postgresql://nobody@127.0.0.1:1/none")
    try:
        assert run_clock(Clock("test", 60, beat), tools, metrics) is Outcome.NO_DATABASE
    finally:
        db.engine().dispose()
        db.connect(url)
    assert not metrics.is_ready
    assert all_runs() == []


def test_old_runs_are_removed_but_the_last_good_one(tools: Tools) -> None:
    def add(clock: str, at: datetime, error: str | None = None) -> None:
        with db.transaction() as tx:
            tx.add(ClockRun(clock=clock, started_at=at, ended_at=at, error=error))

    for age in (KEEP_RUNS * 3, KEEP_RUNS * 2, timedelta(0)):
        add("often", NOW - age)
    add("rare", NOW - timedelta(days=300))
    add("rare", NOW - timedelta(days=200))
    add("rare", NOW - timedelta(days=1), "failed")
    add("rare", NOW - KEEP_FAILURES * 2, "failed long ago")
    assert trim_runs(now=NOW) == 4
    left = [(run.clock, run.started_at) for run in all_runs()]
    assert left == [("often", NOW), ("rare", NOW - timedelta(days=200)), ("rare", NOW - timedelta(days=1))]


def test_the_table_names_every_clock_once_and_beat_has_it_all(tools: Tools) -> None:
    clocks = all_clocks()
    app = make_app("redis://127.0.0.1:1/0", clocks, tools, ClockMetrics())
    assert len({one.name for one in clocks}) == len(clocks)
    assert set(app.conf.beat_schedule) == {one.name for one in clocks}
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
    every = {one.name: one.every_s for one in clocks}
    assert every["usage_monitor"] == 300
    assert every["heartbeat"] == 10
    assert {"partitions", "heartbeat"} <= {one.name for one in clocks if one.at_start}


def test_every_clock_runs_on_an_empty_product(tools: Tools) -> None:
    for one in all_clocks():
        assert run_clock(one, tools, ClockMetrics()) is Outcome.DONE, one.name


def test_the_usage_monitor_s_run_says_what_it_repaired(tools: Tools) -> None:
    user = make_user("free")
    with db.transaction() as tx:
        sql = (
            "INSERT INTO user_proxy_costs (user_id, month_year, total_bytes, last_updated)"
            " VALUES (:user, date_trunc('month', now() AT TIME ZONE 'America/Sao_Paulo'), 5, now())"
        )
        tx.execute(text(sql), {"user": user.id})
    assert tick(tools, monitor) is Outcome.DONE
    assert all_runs()[0].counts == {"months": 1, "repaired": 1, "over_limit": 0}


def test_a_silent_gateway_is_counted(tools: Tools) -> None:
    register_boot(new_id(), host="h", pid=1, port=1, now=NOW)
    assert look_for_silent_gateways(tools, NOW) == {"silent": 0}
    assert look_for_silent_gateways(tools, NOW + timedelta(minutes=1)) == {"silent": 1}


@pytest.fixture(scope="module")
def _simulated() -> Iterator[SimulatedProvider]:
    with SimulatedProvider(statics=1) as running:
        yield running


@pytest.fixture
def simulated(_simulated: SimulatedProvider) -> Iterator[SimulatedProvider]:
    yield _simulated
    _simulated.reset()


@pytest.fixture
def proxy(tools: Tools, simulated: SimulatedProvider) -> Proxy:
    """A rotating proxy at the simulated provider."""
    provider = make_provider(tools.vault, port=simulated.port, ip_check_url=PAGE)
    return make_proxy(provider)


def reread(proxy: Proxy) -> Proxy:
    with db.transaction() as tx:
        return tx.get_one(Proxy, proxy.id)


def observations() -> list[ExitIpObservation]:
    with db.transaction() as tx:
        return list(tx.scalars(select(ExitIpObservation).order_by(ExitIpObservation.first_seen_at)))


def execute(sql: str, **values: Any) -> None:
    with db.transaction() as tx:
        tx.execute(text(sql), values)


def test_the_sweep_scores_a_proxy_by_what_a_real_attempt_says(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    execute("UPDATE proxies SET health_score = 50")
    assert sweep(tools, NOW) == {"tried": 1, "failed": 0}
    good = reread(proxy)
    assert good.health_score > 50
    assert (good.last_checked_at, good.last_error) == (NOW, None)
    assert good.latency_ms is not None
    simulated.switch(refuse_connect=503)
    later = NOW + timedelta(hours=1)
    assert sweep(tools, later) == {"tried": 1, "failed": 1}
    bad = reread(proxy)
    assert bad.health_score < good.health_score
    assert bad.consecutive_failures == 1
    assert bad.last_error


def test_the_sweep_asks_rarely_while_all_is_well_and_often_while_it_is_not(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    assert sweep(tools, NOW)["tried"] == 1
    assert sweep(tools, NOW + timedelta(minutes=1))["tried"] == 0
    assert sweep(tools, NOW + timedelta(minutes=31))["tried"] == 1
    simulated.switch(port_down=True)
    assert sweep(tools, NOW + timedelta(minutes=62))["failed"] == 1
    assert sweep(tools, NOW + timedelta(minutes=63))["failed"] == 1
    simulated.reset()
    assert sweep(tools, NOW + timedelta(minutes=64)) == {"tried": 1, "failed": 0}
    assert reread(proxy).consecutive_failures == 0


@pytest.mark.parametrize("switch", ["allow_list_denied", "balance_empty"])
def test_what_is_not_the_proxy_s_fault_costs_no_points(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider, switch: str
) -> None:
    simulated.switch(**{switch: True})
    assert sweep(tools, NOW)["failed"] == 1
    checked = reread(proxy)
    assert (checked.health_score, checked.consecutive_failures) == (100, 0)
    assert checked.last_error


def test_the_sweep_leaves_out_what_is_switched_off_and_what_cannot_be_unsealed(tools: Tools, proxy: Proxy) -> None:
    make_proxy(make_provider(Vault(["another-secret-key-of-32-characters!"]), port=1))
    execute("UPDATE proxies SET is_active = false WHERE id = :id", id=proxy.id)
    assert sweep(tools, NOW)["tried"] == 0


def test_a_proxy_deleted_during_its_check_is_no_failure(
    tools: Tools, proxy: Proxy, simulated: SimulatedProvider
) -> None:
    simulated.switch(latency_ms=700)
    with ThreadPoolExecutor(1) as pool:
        before = simulated.state()["sessions"]
        running = pool.submit(sweep, tools, NOW)
        while simulated.state()["sessions"] == before:
            time.sleep(0.01)
        delete_proxy(None, proxy.id, force=True, now=NOW)
        assert running.result(60) == {"tried": 1, "failed": 0}


def test_a_private_upstream_without_a_page_is_never_dialled(tools: Tools, simulated: SimulatedProvider) -> None:
    before = simulated.state()["totals"]
    make_proxy(make_provider(tools.vault, port=simulated.port))
    make_chip(make_user("enterprise"))
    assert ExitWatch().observe(tools, NOW) == nothing_of("seen", "changed", "paused", "shared", "failed", "waiting")
    assert sweep(tools, NOW) == {"tried": 1, "failed": 0}
    assert simulated.state()["totals"] == before


def test_a_worker_that_stops_begins_no_more_probes(tools: Tools, proxy: Proxy) -> None:
    make_chip(make_user("enterprise"))
    tools.stopping.set()
    assert ExitWatch().observe(tools, NOW)["seen"] == 0
    assert sweep(tools, NOW)["tried"] == 0


def test_a_waiting_chip_gets_a_proxy_when_there_is_room(tools: Tools, proxy: Proxy) -> None:
    user = make_user("enterprise")
    chips = [make_chip(user).chip_id for _ in range(3)]
    delete_proxy(None, proxy.id, force=True, now=NOW)
    assert serve_waiting_chips(tools, NOW) == {"waiting": 3, "served": 0}
    provider = make_provider(tools.vault)
    make_proxy(provider, max_chips=2)
    assert serve_waiting_chips(tools, NOW) == {"waiting": 1, "served": 2}
    make_proxy(provider, proxy_type="static")
    assert serve_waiting_chips(tools, NOW) == {"waiting": 0, "served": 1}
    with db.transaction() as tx:
        assert {one.status for one in tx.scalars(select(Chip))} == {ChipStatus.DISCONNECTED}
        active = tx.scalars(select(Assignment).where(Assignment.released_at.is_(None))).all()
    assert {one.chip_id for one in active} == set(chips)


def nothing_of(*counts: str) -> dict[str, int]:
    return dict.fromkeys(counts, 0)
