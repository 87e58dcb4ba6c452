"""A full database of the version before is migrated while that version goes on writing and reading."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, Table, text

from tests.migrations.conftest import connected
from tests.migrations.filling import KEPT_BY_USAGE, ROWS, Reporter, fill, tables_of
from whago.domain.actions.monitor import check_usage
from whago.domain.queries.reports import Reporting, customer_lines
from whago.domain.rules.months import next_month
from whago.kit import db
from whago.main.migrate import upgrade

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
PAST_HOUR = datetime(2026, 10, 20, 12, tzinfo=UTC)
HOUR = datetime(2026, 11, 15, 15, tzinfo=UTC)
PARTITIONS = [
    f"CREATE TABLE proxy_usage_logs_{month:%Y_%m} PARTITION OF proxy_usage_logs"
    f" FOR VALUES FROM ('{month}') TO ('{next_month(month)}')"
    for month in (OCTOBER, NOVEMBER)
]
PATIENCE = f"SET lock_timeout = {db.LOCK_TIMEOUT_MS}"  # the product's own: a report that waits longer fails
WAIT_S = 60  # for threads to come to an end on a busy machine
Rows = dict[str, list[tuple[Any, ...]]]


@pytest.fixture
def full(before: str) -> tuple[str, Reporter, list[Table]]:
    with connected(before) as connection:
        for statement in PARTITIONS:
            connection.execute(text(statement))
        reporter = Reporter(fill(connection))
        for tunnel in range(3):
            reporter.report(connection, tunnel, OCTOBER, PAST_HOUR)
        tables = tables_of(connection)
        connection.commit()
    return before, reporter, tables


def test_nothing_is_lost_and_nobody_is_refused(full: tuple[str, Reporter, list[Table]], tz: ZoneInfo) -> None:
    url, reporter, tables = full
    with connected(url) as connection:
        stood = _rows(connection, tables)
    assert {name for name, rows in stood.items() if len(rows) < ROWS} <= KEPT_BY_USAGE

    written: list[int] = []

    def write(connection: Connection, turn: int) -> None:
        reporter.report(connection, turn, NOVEMBER, HOUR)
        connection.commit()
        written.append(turn)

    def read(connection: Connection, _turn: int) -> None:
        _rows(connection, tables)
        connection.commit()

    with _going_on(url, write), _going_on(url, read):
        upgrade(url)

    with connected(url) as connection:
        stands = _rows(connection, tables)
        recorded = connection.scalar(text(f"SELECT count(*) FROM proxy_usage_logs_{NOVEMBER:%Y_%m}"))
    assert recorded == len(written) * ROWS
    for name, rows in stood.items():
        if name not in KEPT_BY_USAGE | {"proxies"}:
            assert stands[name] == rows, name
    assert set(stood["proxy_usage_logs"]) < set(stands["proxy_usage_logs"])
    _bills_are_the_same(url, len(written), tz)


def _bills_are_the_same(url: str, reports: int, tz: ZoneInfo) -> None:
    """By this version's own monitor and report: 20 per GB, three tunnels in October and every report in November."""
    engine = db.connect(url)  # whoever uses the tests' own database connects to it again
    try:
        assert check_usage(since=None, now=HOUR, tz=tz).repaired == []
        for month, count in ((OCTOBER, 3), (NOVEMBER, reports)):
            lines = customer_lines(Reporting(month, HOUR, tz), limit=100, cursor=None).items
            used = [(line.bytes_used, line.cost) for line in lines if line.bytes_used]
            assert used == [(1000 * count, Decimal("0.00002") * count)] * ROWS
    finally:
        engine.dispose()


@contextmanager
def _going_on(url: str, work: Callable[[Connection, int], None]) -> Iterator[None]:
    """``work`` again and again in a thread of its own; what it raises is raised here. It has worked at least twice."""
    stop, begun = threading.Event(), threading.Event()
    trouble: list[Exception] = []

    def go_on() -> None:
        try:
            with connected(url) as connection:
                connection.execute(text(PATIENCE))
                connection.commit()
                turn = 0
                while not stop.is_set() or turn < 2:
                    work(connection, turn)
                    begun.set()
                    turn += 1
        except Exception as error:  # noqa: BLE001 - raised again in the test
            trouble.append(error)
            begun.set()

    thread = threading.Thread(target=go_on)
    thread.start()
    assert begun.wait(WAIT_S)
    try:
        yield
    finally:
        stop.set()
        thread.join(WAIT_S)
    if trouble:
        raise trouble[0]
    assert not thread.is_alive()


def _rows(connection: Connection, tables: list[Table]) -> Rows:
    """Every row of every table by the columns that the version before knows."""
    found = {}
    for table in tables:
        columns = ", ".join(f'CAST("{column.name}" AS text)' for column in table.columns)
        found[table.name] = sorted(map(tuple, connection.execute(text(f"SELECT {columns} FROM {table.name}"))), key=str)
    return found
