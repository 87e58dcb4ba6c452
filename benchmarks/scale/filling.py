"""Fills the installation month by month, newest hours first: a longer history is the same one with a longer past."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Index, text

from benchmarks.monitor.filling import FORGET_TOTALS, TOTALS
from benchmarks.pages.filling import AROUND
from benchmarks.scale.statements import DAYS, HOURS, LEDGER, PRICE_MONTHS, TUNNELS_PER_HOUR, WORLD
from whago.domain.actions.month_closing import close_month
from whago.domain.actions.partitions import make_partitions
from whago.domain.models import UsageHour
from whago.domain.models.usage import forget_partitions
from whago.domain.rules.months import (
    HOUR,
    billing_day,
    billing_month,
    month_start,
    next_month,
    previous_month,
    usage_hour,
)
from whago.kit import db

SEED: Final = "whago"
GATEWAYS: Final = 4  # whose tunnels a month's ledger tells of
PROVIDERS: Final = 5
CHIPS_PER_PROXY: Final = 100
BULK: Final = 2  # filling more than this times what is there: making the indexes anew costs less than keeping them
KEY: Final = "pk_usage_hours"
SECONDARY: Final[list[Index]] = sorted(UsageHour.__table__.indexes, key=lambda index: str(index.name))  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Size:
    """``rows`` of the ledger over ``months`` billing months, the present one included; rounded to whole hours."""

    chips: int
    customers: int
    months: int
    rows: int


class Place:
    """One installation at one moment. ``hours``: how many of them are in the ledger, counted back from ``newest``."""

    def __init__(self, size: Size, now: datetime, tz: ZoneInfo, seed: str = SEED) -> None:
        self.size, self.tz, self.seed = size, tz, seed
        self.newest = usage_hour(now, tz) - HOUR
        self.hours = 0

    @property
    def begins(self) -> datetime:
        return month_start(self._months_ago(self.size.months - 1), self.tz)

    @property
    def all_hours(self) -> int:
        return int((self.newest - self.begins) / HOUR) + 1

    @property
    def stride(self) -> int:
        """A chip moves bytes in every so-manieth hour."""
        return max(1, round(self.all_hours * self.size.chips * TUNNELS_PER_HOUR / self.size.rows))

    @property
    def rows(self) -> int:
        """What the ledger holds now, by the generator's own count."""
        with db.reading() as tx:
            slots = dict(tx.execute(_IN_SLOTS).all())
        return TUNNELS_PER_HOUR * sum(slots.get(at % self.stride, 0) for at in range(self.hours))

    def make(self) -> None:
        """Customers, pool and chips; raises ProgrammingError when they were made before."""
        make_partitions(now=self.newest, tz=self.tz)
        with db.transaction() as tx:
            for statement in WORLD:
                _execute(tx.connection(), statement, self._values)
            for statement in (*AROUND, "ANALYZE"):
                _execute(tx.connection(), statement, self._values)

    def resume(self) -> None:
        """Goes on with what an earlier run has made; raises NoResultFound when there is nothing."""
        with db.reading() as tx:
            self.hours, self.newest, self.seed = tx.execute(text("SELECT hours, newest, seed FROM bench_hours")).one()

    def grow(self, hours: int) -> None:
        """Fills up to ``hours`` and sums everything up; what is there already stays."""
        wanted = min(hours, self.all_hours)
        engine = db.engine()
        if wanted > BULK * self.hours:
            with engine.begin() as connection:
                _without_indexes(connection)
        for month, oldest, newest in self._chunks(wanted):
            with engine.begin() as connection:  # one each, so that what was cut off goes on from there
                self._fill(connection, month, oldest, newest)
                connection.execute(text("UPDATE bench_hours SET hours = :hours"), {"hours": oldest + 1})
            self.hours = oldest + 1
        forget_partitions()
        if not self._is_summed():
            self._sum_up()

    def _is_summed(self) -> bool:
        with db.reading() as tx:
            return bool(tx.scalar(text("SELECT summed = hours FROM bench_hours")))

    def _sum_up(self) -> None:
        """Indexes, totals and closed months; what a filling leaves to the end."""
        with db.engine().begin() as connection:
            _with_indexes(connection)
            for statement in (FORGET_TOTALS, *TOTALS, _FORGET_MARKS, _MARKS):
                _execute(connection, statement, self._values)
        self._close_months()
        with db.transaction() as tx:
            tx.execute(text("UPDATE bench_hours SET summed = hours"))
        with db.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as outside:
            outside.execute(text("VACUUM (ANALYZE)"))

    def _chunks(self, wanted: int) -> Iterator[tuple[date, int, int]]:
        """Each month's part of what is missing, newest first, as hours counted back: its oldest and its newest."""
        newest = self.hours
        while newest < wanted:
            month = billing_month(self.newest - newest * HOUR, self.tz)
            oldest = int((self.newest - month_start(month, self.tz)) / HOUR)
            yield month, min(oldest, wanted - 1), newest
            newest = min(oldest, wanted - 1) + 1

    def _fill(self, connection: Connection, month: date, oldest: int, newest: int) -> None:
        """A month that is not there yet is filled before its indexes are made, which is several times as fast."""
        name = f"proxy_usage_logs_{month:%Y_%m}"
        values = self._values | {"month": month, "from_at": oldest, "to_at": newest, "boots": f"{self.seed}{month}"}
        is_new = connection.scalar(text("SELECT to_regclass(:name)"), {"name": name}) is None
        if is_new:
            connection.execute(text(f"CREATE TABLE {name} (LIKE proxy_usage_logs INCLUDING DEFAULTS)"))
        _execute(connection, LEDGER.format(table=name), values)
        if is_new:
            bounds = f"FROM ('{month}') TO ('{next_month(month)}')"
            connection.execute(text(f"ALTER TABLE proxy_usage_logs ATTACH PARTITION {name} FOR VALUES {bounds}"))
        for statement in (HOURS, PRICE_MONTHS, DAYS):
            _execute(connection, statement, values)

    def _close_months(self) -> None:
        """As the clock does when a month has ended."""
        month = previous_month(billing_month(self.newest, self.tz))
        while month_start(month, self.tz) >= self.begins and self.hours * HOUR > self.newest - month_start(
            month, self.tz
        ):
            close_month(month, now=month_start(next_month(month), self.tz) + HOUR, tz=self.tz)
            month = previous_month(month)

    @property
    def _values(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "chips": self.size.chips,
            "customers": self.size.customers,
            "proxies": max(1, self.size.chips // CHIPS_PER_PROXY),
            "providers": PROVIDERS,
            "gateways": GATEWAYS,
            "stride": self.stride,
            "newest": self.newest,
            "begins": self.begins,
            "new_price_from": month_start(self._months_ago((self.size.months - 1) // 2), self.tz),
            "today": billing_day(self.newest + HOUR, self.tz),
            "filled": self.newest + timedelta(minutes=50),
            "zone": self.tz.key,
        }

    def _months_ago(self, number: int) -> date:
        month = billing_month(self.newest, self.tz)
        for _ in range(number):
            month = previous_month(month)
        return month


_IN_SLOTS: Final = text("SELECT slot, count(*) FROM bench_chips GROUP BY slot")
_FORGET_MARKS: Final = "TRUNCATE usage_day_marks"
_MARKS: Final = """
INSERT INTO usage_day_marks (day, as_of, total_bytes, total_cost)
SELECT day, now(), sum(total_bytes), sum(total_cost) FROM usage_days GROUP BY day
"""


def _without_indexes(connection: Connection) -> None:
    for index in SECONDARY:
        index.drop(connection, checkfirst=True)
    connection.execute(text(f"ALTER TABLE usage_hours DROP CONSTRAINT IF EXISTS {KEY}"))


def _with_indexes(connection: Connection) -> None:
    """Those that are missing."""
    if connection.scalar(text("SELECT to_regclass(:name)"), {"name": KEY}) is None:
        connection.execute(
            text(f"ALTER TABLE usage_hours ADD CONSTRAINT {KEY} PRIMARY KEY (chip_id, provider_id, hour)")
        )
    for index in SECONDARY:
        index.create(connection, checkfirst=True)


def _execute(connection: Connection, statement: Any, values: dict[str, Any]) -> None:
    wanted = text(statement) if isinstance(statement, str) else statement
    connection.execute(wanted, {name: values[name] for name in wanted.compile().params})
