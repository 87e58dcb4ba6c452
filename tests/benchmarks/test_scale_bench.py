"""The benchmark of a large installation fills one in which everything adds up, at any size and after any growth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from benchmarks.scale.filling import Place, Size
from benchmarks.scale.measuring import Measured, percentile
from benchmarks.scale.results import Stage, grown, keep, load, markdown, missed
from sqlalchemy import text

from tests.migrations.conftest import database_of
from whago.domain.actions.monitor import check_usage
from whago.kit import db
from whago.main.migrate import upgrade

SIZE = Size(chips=40, customers=4, months=2, rows=1_000)


@pytest.fixture
def empty(postgres_url: str) -> Iterator[str]:
    """A database of this version, on the tests' server, to which this process is connected."""
    with database_of(postgres_url) as url:
        upgrade(url)
        engine = db.connect(url)
        yield url
        engine.dispose()


def total_bytes(place: Place) -> int:
    """What the generator's formula comes to, reckoned by Python."""
    chips = range(1, place.size.chips + 1)
    active = ((n, at) for at in range(place.hours) for n in chips if n % place.stride == at % place.stride)
    return sum(4 * (420 + 20_000 + (n * 7919 + at * 104_729) % 900_000) for n, at in active)


def sums() -> dict[str, int]:
    query = " UNION ALL ".join(
        f"SELECT '{table}', sum({column}) FROM {table}"
        for table, column in {
            "proxy_usage_logs": "bytes_transferred",
            "usage_hours": "total_bytes",
            "usage_price_months": "total_bytes",
            "chip_usage_months": "total_bytes",
            "user_proxy_costs": "total_bytes",
            "proxies": "total_bytes_used",
        }.items()
    )
    with db.reading() as tx:
        return {name: int(count) for name, count in tx.execute(text(query))}


def test_everything_adds_up_however_long_the_history(empty: str, noon: datetime, tz: ZoneInfo) -> None:
    place = Place(SIZE, noon, tz)
    place.make()
    place.grow(24)
    assert set(sums().values()) == {total_bytes(place)}
    again = Place(SIZE, noon.replace(month=12), tz)  # a later run, of what was cut off
    again.resume()
    assert (again.newest, again.hours) == (place.newest, 24)
    again.grow(again.all_hours)
    assert set(sums().values()) == {total_bytes(again)}
    assert check_usage(since=None, now=noon, tz=tz).repaired == []
    assert again.rows == pytest.approx(SIZE.rows, rel=0.2)  # whole hours of all chips
    assert facts() == {"rows": again.rows, "prices": 2, "cost": True, "days": True, "closed": True}


FACTS = """
SELECT (SELECT count(*) FROM proxy_usage_logs) AS rows,
       (SELECT count(DISTINCT price_id) FROM proxy_usage_logs) AS prices,
       (SELECT sum(cost) FROM proxy_usage_logs) = (SELECT sum(total_cost) FROM user_proxy_costs) AS cost,
       (SELECT sum(total_bytes) FROM usage_day_marks)
           = (SELECT sum(total_bytes) FROM usage_hours WHERE hour < '2026-11-15T03:00Z') AS days,
       (SELECT bool_and((closed_at IS NULL) = (month_year = '2026-11-01')) FROM user_proxy_costs) AS closed
"""


def facts() -> dict[str, object]:
    """Prices change once, days are added up until today, months that are over are closed."""
    with db.reading() as tx:
        return dict(tx.execute(text(FACTS)).one()._mapping)


def stage(rows: int, *times_ms: float) -> Stage:
    return Stage(
        rows, rows / 100, 40, {"size": "small"}, [Measured("customer", "/chips", times_ms, 100.0)], {"chips": 1 << 20}
    )


def test_the_table_holds_every_length_of_history(tmp_path: Path) -> None:
    keep(tmp_path / "results.json", stage(100, 10, 20))
    keep(tmp_path / "results.json", stage(1_000, 99))
    stages = keep(tmp_path / "results.json", stage(1_000, 30, 200))
    assert load(tmp_path / "results.json") == stages
    assert "| customer: `/chips` | 100 | 10 | 20 |  | 30 | 200 |  |" in markdown(stages)
    assert missed(stages) == ["customer: /chips: 200 ms (at most 100)"]
    assert grown(stages) == ["customer: /chips: 10 → 30 ms"]


def test_a_percentile_is_one_of_the_times() -> None:
    times = tuple(float(n) for n in range(20, 0, -1))
    assert [percentile(times, percent) for percent in (5, 50, 95, 100)] == [1, 10, 19, 20]
