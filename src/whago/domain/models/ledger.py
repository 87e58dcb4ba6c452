"""Writing the ledger: one statement takes a whole report, keeps the greatest counters and tells what moved.

The database merges, prices and sums, because a gateway that opens thousands of tunnels a second must not do it row by
row. In the same statement hours, chip months, price months and proxies move by what the ledger moved. The caller holds
the locks of the customers' months, so nobody moves these rows meanwhile; only proxies are shared by customers, and are
taken in the order of their ids, so that two reports never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from whago.domain.models.usage import CustomerMonth
from whago.kit.clock import microseconds
from whago.kit.ids import new_id_numbers
from whago.kit.packed import Bigints, Column, Days, Moments, Uuids

Key = tuple[int, datetime, int]
"""Tunnel id, clock hour and price: what a row is known by within one boot and month."""


class Metered(Protocol):
    """Absolute counters of one tunnel in one clock hour at one price; all in bytes."""

    @property
    def tunnel_id(self) -> int: ...
    @property
    def user_id(self) -> UUID: ...
    @property
    def chip_id(self) -> UUID: ...
    @property
    def proxy_id(self) -> UUID: ...
    @property
    def assignment_id(self) -> UUID: ...
    @property
    def price_id(self) -> int: ...
    @property
    def hour(self) -> datetime: ...
    @property
    def bytes_up(self) -> int: ...
    @property
    def bytes_down(self) -> int: ...
    @property
    def overhead(self) -> int: ...
    @property
    def started_us(self) -> int:
        """Its first byte, in microseconds since 1970."""
        ...

    @property
    def last_us(self) -> int:
        """Its newest byte, in microseconds since 1970."""
        ...


@dataclass(frozen=True, slots=True)
class MovedMonth:
    """By how much a report has moved a customer's month.

    ``chips`` that moved, ``chip_count`` of them, and when each moved its newest byte, ``last_at``: arrays in
    PostgreSQL's text form, because they only go back to the database.
    """

    user_id: UUID
    month_year: date
    added_bytes: int
    added_cost: Decimal
    chip_count: int
    chips: str
    last_at: str

    @property
    def key(self) -> CustomerMonth:
        return self.user_id, self.month_year


_TOLD: Final[dict[str, type[Column]]] = {
    **dict.fromkeys(("tunnel_id", "price_id", "bytes_up", "bytes_down", "overhead"), Bigints),
    **dict.fromkeys(("user_id", "chip_id", "proxy_id", "assignment_id"), Uuids),
    **dict.fromkeys(("started_us", "last_us"), Moments),
}
_GETTERS: Final[dict[str, Callable[[Metered], Any]]] = {
    name: attrgetter(f"{name}.int" if kind is Uuids else name) for name, kind in _TOLD.items()
}

_PUT_ROW: Final = """
        INSERT INTO proxy_usage_logs (
            id, month_year, boot_id, tunnel_id, hour, price_id, user_id, chip_id, proxy_id, provider_id,
            assignment_id, bytes_up, bytes_down, overhead, bytes_transferred, session_start, session_end,
            cost_per_gb, bytes_per_gb, cost, is_demo
        )
        SELECT id, month_year, :boot_id, tunnel_id, hour, price_id, user_id, chip_id, proxy_id, provider_id,
               assignment_id, up, down, over, total, began, ended, cost_per_gb, bytes_per_gb, cost, :is_demo
          FROM moved"""

# 40 places in the division are exact for prices of 6 places per 2^30 bytes, so that a cost is rounded only once, to 15.
# The fence (OFFSET 0) makes each row look up its old one: statistics do not know a boot that began a minute ago, and a
# plan that trusted them would read all that the boot has written this month. What is new to us is new to everybody,
# because of the locks, so it goes in without asking for a conflict, which costs a quarter of the statement.
_PUT: Final = text(
    f"""
    WITH told AS (
        SELECT * FROM unnest(
            CAST(:tunnel_id AS bigint[]), CAST(:user_id AS uuid[]), CAST(:chip_id AS uuid[]),
            CAST(:proxy_id AS uuid[]), CAST(:assignment_id AS uuid[]), CAST(:price_id AS bigint[]),
            CAST(:hour AS timestamptz[]), CAST(:bytes_up AS bigint[]), CAST(:bytes_down AS bigint[]),
            CAST(:overhead AS bigint[]), CAST(:started_us AS timestamptz[]),
            CAST(:last_us AS timestamptz[]), CAST(:month_year AS date[]), CAST(:id AS uuid[])
        ) AS row (
            tunnel_id, user_id, chip_id, proxy_id, assignment_id, price_id, hour, bytes_up, bytes_down, overhead,
            started_at, last_at, month_year, id
        )
    ), moved AS (
        SELECT m.*, round(CAST(total * cost_per_gb AS numeric(80, 40)) / bytes_per_gb, 15) AS cost
          FROM (
            SELECT told.*, price.provider_id, price.cost_per_gb, price.bytes_per_gb,
                   greatest(told.bytes_up, old.bytes_up) AS up, greatest(told.bytes_down, old.bytes_down) AS down,
                   greatest(told.overhead, old.overhead) AS over,
                   greatest(told.bytes_up, old.bytes_up) + greatest(told.bytes_down, old.bytes_down)
                   + greatest(told.overhead, old.overhead) AS total,
                   least(told.started_at, old.session_start) AS began, greatest(told.last_at, old.session_end) AS ended,
                   coalesce(old.bytes_transferred, 0) AS before, coalesce(old.cost, 0) AS cost_before,
                   old.boot_id IS NULL AS is_new
              FROM told
              LEFT JOIN proxy_provider_prices price ON price.id = told.price_id
              LEFT JOIN LATERAL (
                SELECT * FROM proxy_usage_logs log
                 WHERE log.month_year = told.month_year AND log.boot_id = :boot_id AND log.tunnel_id = told.tunnel_id
                   AND log.hour = told.hour AND log.price_id = told.price_id
                OFFSET 0
              ) old ON true
          ) m
         WHERE total <> before
    ), begun AS (
        {_PUT_ROW}
         WHERE is_new
    ), continued AS (
        {_PUT_ROW}
         WHERE NOT is_new
            ON CONFLICT (month_year, boot_id, tunnel_id, hour, price_id) DO UPDATE
           SET bytes_up = excluded.bytes_up, bytes_down = excluded.bytes_down, overhead = excluded.overhead,
               bytes_transferred = excluded.bytes_transferred, session_start = excluded.session_start,
               session_end = excluded.session_end, cost = excluded.cost
    ), added AS (
        SELECT month_year, user_id, chip_id, proxy_id, provider_id, price_id, hour,
               CAST(sum(total - before) AS bigint) AS bytes, sum(cost - cost_before) AS cost, max(ended) AS last_at
          FROM moved
         GROUP BY 1, 2, 3, 4, 5, 6, 7
    ), chips AS (
        SELECT month_year, user_id, chip_id, sum(bytes) AS bytes, sum(cost) AS cost, max(last_at) AS last_at
          FROM added
         GROUP BY 1, 2, 3
    ), hours AS (
        INSERT INTO usage_hours AS old (chip_id, provider_id, hour, user_id, total_bytes, total_cost, changed_at)
        SELECT chip_id, provider_id, hour, user_id, sum(bytes), sum(cost), :now
          FROM added
         GROUP BY 1, 2, 3, 4
            ON CONFLICT (chip_id, provider_id, hour) DO UPDATE
           SET total_bytes = old.total_bytes + excluded.total_bytes,
               total_cost = old.total_cost + excluded.total_cost, changed_at = excluded.changed_at
    ), chip_months AS (
        INSERT INTO chip_usage_months AS old (chip_id, month_year, user_id, total_bytes, total_cost, changed_at)
        SELECT chip_id, month_year, user_id, bytes, cost, :now
          FROM chips
            ON CONFLICT (chip_id, month_year) DO UPDATE
           SET total_bytes = old.total_bytes + excluded.total_bytes,
               total_cost = old.total_cost + excluded.total_cost, changed_at = excluded.changed_at
    ), price_months AS (
        INSERT INTO usage_price_months AS old (
            month_year, chip_id, proxy_id, price_id, provider_id, user_id, total_bytes, total_cost
        )
        SELECT month_year, chip_id, proxy_id, price_id, provider_id, user_id, sum(bytes), sum(cost)
          FROM added
         GROUP BY 1, 2, 3, 4, 5, 6
            ON CONFLICT (month_year, chip_id, proxy_id, price_id) DO UPDATE
           SET total_bytes = old.total_bytes + excluded.total_bytes,
               total_cost = old.total_cost + excluded.total_cost
    ), of_proxies AS (
        SELECT proxy_id, CAST(sum(bytes) AS bigint) AS bytes FROM added GROUP BY 1
    ), taken AS (
        SELECT id FROM proxies WHERE id IN (SELECT proxy_id FROM of_proxies) ORDER BY id FOR NO KEY UPDATE
    ), proxy_totals AS (
        UPDATE proxies SET total_bytes_used = total_bytes_used + of_proxies.bytes
          FROM taken JOIN of_proxies ON of_proxies.proxy_id = taken.id
         WHERE proxies.id = taken.id
    )
    SELECT user_id, month_year, CAST(sum(bytes) AS bigint), sum(cost), count(*),
           CAST(array_agg(chip_id) AS text), CAST(array_agg(last_at) AS text)
      FROM chips
     GROUP BY 1, 2
    """  # noqa: S608 - put together from our own text only
)


def put_rows(
    db: Session, boot_id: UUID, usages: Sequence[Metered], months: dict[datetime, date], *, now: datetime, is_demo: bool
) -> list[MovedMonth]:
    """Writes a report and returns what it added; rows that stand already add nothing. ``months``: of each hour.

    Raises IntegrityError when a price does not exist: usage without a price is never dropped.
    """
    if not usages:
        return []
    one_each = _greatest_of_each_key(usages)
    begins = {hour: microseconds(hour) for hour in months}
    told = {name: kind(list(map(_GETTERS[name], one_each))) for name, kind in _TOLD.items()}
    told["hour"] = Moments([begins[usage.hour] for usage in one_each])
    told["id"] = Uuids(new_id_numbers(len(one_each)))
    told["month_year"] = Days([months[usage.hour] for usage in one_each])
    rows = db.execute(_PUT, {**told, "boot_id": boot_id, "now": now, "is_demo": is_demo})
    return [MovedMonth(*row) for row in rows]


def _greatest_of_each_key(usages: Sequence[Metered]) -> Sequence[Metered]:
    """A statement cannot move one row twice. A gateway never names a row twice in one report, so that is seen first."""
    if len({usage.tunnel_id for usage in usages}) == len(usages):
        return usages
    greatest: dict[Key, Metered] = {}
    for usage in usages:
        key = (usage.tunnel_id, usage.hour, usage.price_id)
        other = greatest.get(key)
        if other is None or _total(usage) > _total(other):
            greatest[key] = usage
    return list(greatest.values())


def _total(usage: Metered) -> int:
    return usage.bytes_up + usage.bytes_down + usage.overhead
