"""What is measured of the filled installation: pages, reports of usage, new chips, the monitor, and sizes on disk."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import event, select, text

from benchmarks.monitor.measuring import Run, run_one
from benchmarks.monitor.results import MONITOR
from benchmarks.monitor.traffic import Traffic
from benchmarks.pages.walking import ADMIN_PAGES, CUSTOMER_PAGES, administrator, busiest, chip_of, visit, visitor
from benchmarks.scale.work import Took, Watch
from whago.domain.actions.chips import create_chip
from whago.domain.actions.clock_runs import begin_run, end_run
from whago.domain.actions.record_usage import record_usage
from whago.domain.models import Engine, User
from whago.domain.queries.reports import Reporting, chip_lines, customer_lines, month_overview
from whago.domain.rules.months import billing_month, previous_month
from whago.kit import clock, db
from whago.kit.ids import new_id

TUNNELS_PER_REPORT: Final = 1_000
TUNNELS: Final = 10_000  # of which a report tells each second
CUSTOMER_API: Final = ("/api/v1/user/proxy/usage", "/api/v1/chips")
ADMIN_API: Final = ("/api/v1/admin/proxies/stats/dashboard",)
MONITOR_ROUNDS: Final = 3
PAGE_MS: Final = 100.0
REPORT_MS: Final = 50.0
MONITOR_MS: Final = 2_000.0
WRITES: Final = re.compile(r"(?:INSERT INTO|UPDATE) ((?!OF\b)\w+)")
TABLE: Final = re.compile(r"(?:FROM|JOIN) (\w+)")


@dataclass(frozen=True, slots=True)
class Measured:
    """One kind of work, as it was done several times. ``target_ms``: what 95 of 100 may take, if there is an aim.

    ``work_ms``: what processors computed for each, here and in the database (benchmarks/scale/work.py).
    """

    group: str
    name: str
    times_ms: tuple[float, ...]
    target_ms: float | None = None
    work_ms: tuple[float, ...] = ()

    @property
    def p50_ms(self) -> float:
        return percentile(self.times_ms, 50)

    @property
    def p95_ms(self) -> float:
        return percentile(self.times_ms, 95)

    @property
    def median_work_ms(self) -> float | None:
        return percentile(self.work_ms, 50) if self.work_ms else None


def percentile(times: tuple[float, ...], percent: int) -> float:
    """The smallest of the times that is not less than ``percent`` of 100 of them (nearest rank)."""
    ordered = sorted(times)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def measure(url: str, postmaster: int, tz: ZoneInfo, rounds: int) -> Iterator[Measured]:
    """Everything, of the database to which this process is connected."""
    watch = Watch(postmaster)
    yield from _pages(watch, tz, rounds)
    yield from _reports(watch, tz, rounds)
    yield from _usage(watch, tz, rounds)
    yield from _new_chips(watch, tz, rounds)
    yield from _monitor(url, postmaster, tz)


def _pages(watch: Watch, tz: ZoneInfo, rounds: int) -> Iterator[Measured]:
    for group, email, paths in (
        ("customer", busiest(), (*CUSTOMER_PAGES, *CUSTOMER_API)),
        ("administrator", administrator(), (*ADMIN_PAGES, *ADMIN_API)),
    ):
        client, chip = visitor(email, tz), chip_of(email)
        for path in paths:
            see = partial(visit, client, path.replace("{chip}", chip))
            yield _timed(watch, group, path, rounds, see, PAGE_MS)


def _reports(watch: Watch, tz: ZoneInfo, rounds: int) -> Iterator[Measured]:
    """A closed month as its report reads it: sums of all customers, and a hundred lines."""
    asked = Reporting(previous_month(billing_month(clock.now(), tz)), clock.now(), tz)
    yield _timed(watch, "report", "month: sums of all customers", rounds, lambda: month_overview(asked), PAGE_MS)
    yield _timed(watch, "report", "month: 100 customers", rounds, lambda: customer_lines(asked, limit=100, cursor=None))
    yield _timed(watch, "report", "month: 100 chips", rounds, lambda: chip_lines(asked, limit=100, cursor=None))


def _usage(watch: Watch, tz: ZoneInfo, rounds: int) -> Iterator[Measured]:
    """Tunnels of as many chips: first all of them are new, then each has moved some bytes since the last report."""
    traffic = Traffic(tz, TUNNELS)
    reports = range(0, len(traffic.chips), TUNNELS_PER_REPORT)
    times: dict[str, list[Took]] = defaultdict(list)
    shares: dict[str, list[float]] = defaultdict(list)
    for turn in range(max(2, rounds // 4)):
        traffic.steps += 1
        for first in reports:
            now = clock.now()
            usages = [traffic.usage(chip, now) for chip in traffic.chips[first : first + TUNNELS_PER_REPORT]]
            report = partial(record_usage, traffic.boot, usages, now=now, tz=tz, open_tunnels=len(usages))
            with _statements() as spent:
                took = watch.took(report)
            times["new tunnels" if turn == 0 else "open tunnels"].append(took)
            for table, took_ms in spent.items():
                shares[table].append(took_ms)
    for name, of_each in times.items():
        yield _measured("usage report", f"1,000 {name}", of_each, REPORT_MS)
    for table, spent_ms in shares.items():
        yield Measured("usage report, by statement", table, tuple(spent_ms))


@contextmanager
def _statements() -> Iterator[dict[str, float]]:
    """Milliseconds that statements took, by the table that each names first."""
    spent: dict[str, float] = defaultdict(float)
    begun: list[float] = []

    def before(*_told: Any) -> None:
        begun.append(time.perf_counter())

    def after(_connection: Any, _cursor: Any, statement: str, *_told: Any) -> None:
        named = WRITES.search(statement) or TABLE.search(statement)
        spent[named[1] if named else statement.split()[0]] += (time.perf_counter() - begun.pop()) * 1000

    event.listen(db.engine(), "before_cursor_execute", before)
    event.listen(db.engine(), "after_cursor_execute", after)
    try:
        yield spent
    finally:
        event.remove(db.engine(), "before_cursor_execute", before)
        event.remove(db.engine(), "after_cursor_execute", after)


def _new_chips(watch: Watch, tz: ZoneInfo, rounds: int) -> Iterator[Measured]:
    """For the customer who has most."""
    email = busiest()
    with db.reading() as tx:
        owner = tx.scalars(select(User.id).where(User.email == email)).one()

    def create() -> None:
        alias = f"New {new_id().hex}"
        create_chip(owner, alias=alias, engine=Engine.EXTERNAL, region=None, now=clock.now(), tz=tz)

    yield _timed(watch, "chip", "creation, with its assignment", rounds, create)


def _monitor(url: str, postmaster: int, tz: ZoneInfo) -> Iterator[Measured]:
    """Runs in a process of its own, after as many chips as a report tells of have moved bytes."""
    traffic = Traffic(tz, TUNNELS)
    watch, took = Watch(postmaster), []
    for turn in range(MONITOR_ROUNDS + 1):
        moved = traffic.move()
        _succeeded_five_minutes_ago()
        runs: list[Run] = []
        spent = watch.took(lambda: runs.append(run_one(MONITOR, url=url, zone=tz.key, postmaster=postmaster)))  # noqa: B023 - called at once
        if turn > 0:  # the first finds no checkpoint of these chips
            took.append(Took(runs[0].seconds * 1000, spent.work_ms))
    yield _measured("monitor", f"{moved:,} chips moved bytes", took, MONITOR_MS)


def _succeeded_five_minutes_ago() -> None:
    """So that a run looks at as much as in every day's work."""
    at = clock.now() - timedelta(minutes=5)
    run_id = begin_run(MONITOR, now=at, not_within=timedelta(0))
    if run_id is not None:
        end_run(run_id, counts={}, error=None, now=at)


def sizes() -> dict[str, int]:
    """Bytes on disk with indexes, by table, the greatest first; partitions count as the ledger."""
    query = text("""
        SELECT CASE WHEN relname LIKE 'proxy_usage_logs%' THEN 'proxy_usage_logs' ELSE relname END AS name,
               CAST(sum(pg_total_relation_size(oid)) AS bigint) AS bytes
        FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
        GROUP BY 1 ORDER BY 2 DESC LIMIT 12
    """)
    with db.reading() as tx:
        return {name: count for name, count in tx.execute(query) if not name.startswith("bench_")}


def _timed(
    watch: Watch, group: str, name: str, rounds: int, work: Callable[[], Any], target_ms: float | None = None
) -> Measured:
    work()  # fills caches
    return _measured(group, name, [watch.took(work) for _ in range(rounds)], target_ms)


def _measured(group: str, name: str, took: Sequence[Took], target_ms: float | None) -> Measured:
    return Measured(group, name, tuple(t.wall_ms for t in took), target_ms, tuple(t.work_ms for t in took))
