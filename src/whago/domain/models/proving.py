"""Where aggregates and ledger disagree: in everything of some customers' month, or only in what moved lately.

A report commits ledger and aggregates together, so in one snapshot they must agree. The database compares; only what
differs is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from whago.domain.models.usage import CustomerMonth
from whago.domain.rules.months import billing_day, billing_month, month_start, next_month, previous_month

STILL_MOVING: Final = timedelta(hours=6)  # hours of a day that ended so lately may still grow: gateways report late


@dataclass(frozen=True, slots=True)
class Difference:
    """An aggregate that is not what the ledger says. ``keys`` identify its row; bytes, and money of the ledger."""

    aggregate: str
    keys: dict[str, Any]
    found_bytes: int | None
    expected_bytes: int
    found_cost: Decimal | None = None
    expected_cost: Decimal | None = None

    def told(self) -> dict[str, Any]:
        """Plain JSON values for a log line or a notification."""
        costs = {"found_cost": self.found_cost, "expected_cost": self.expected_cost}
        return {
            "aggregate": self.aggregate,
            **{name: str(value) for name, value in self.keys.items()},
            "found_bytes": self.found_bytes,
            "expected_bytes": self.expected_bytes,
            **{name: str(value) for name, value in costs.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A chip's month before ``since``, added up from its hours."""

    chip_id: UUID
    month_year: date
    since: datetime
    total_bytes: int
    total_cost: Decimal


@dataclass(frozen=True, slots=True)
class OpenMonths:
    """The billing months that reports may still move, as bounds for queries."""

    this: date
    last: date
    last_begins: datetime
    this_begins: datetime
    ends: datetime

    @classmethod
    def at(cls, now: datetime, tz: ZoneInfo) -> OpenMonths:
        this = billing_month(now, tz)
        last = previous_month(this)
        return cls(
            this, last, month_start(last, tz), month_start(this, tz), month_start(next_month(this), tz)
        )  # fmt: skip

    @property
    def bounds(self) -> dict[str, Any]:
        return {
            "this": self.this,
            "last": self.last,
            "last_begins": self.last_begins,
            "this_begins": self.this_begins,
            "ends": self.ends,
        }


_ALL: Final = text("""
WITH ledger AS MATERIALIZED (
    SELECT user_id, chip_id, proxy_id, provider_id, price_id, hour,
           sum(bytes_transferred)::bigint AS bytes, sum(cost) AS cost
    FROM proxy_usage_logs WHERE month_year = :month AND user_id = ANY(:users)
    GROUP BY user_id, chip_id, proxy_id, provider_id, price_id, hour
), by_hour AS (
    SELECT user_id, chip_id, provider_id, hour, sum(bytes)::bigint AS bytes, sum(cost) AS cost FROM ledger
    GROUP BY user_id, chip_id, provider_id, hour
), hours AS (
    SELECT user_id, chip_id, provider_id, hour, total_bytes, total_cost
    FROM usage_hours WHERE user_id = ANY(:users) AND hour >= :begins AND hour < :ends
), by_price AS (
    SELECT user_id, chip_id, proxy_id, provider_id, price_id, sum(bytes)::bigint AS bytes, sum(cost) AS cost
    FROM ledger GROUP BY user_id, chip_id, proxy_id, provider_id, price_id
), prices AS (
    SELECT user_id, chip_id, proxy_id, provider_id, price_id, total_bytes, total_cost
    FROM usage_price_months WHERE month_year = :month AND user_id = ANY(:users)
), by_chip AS (
    SELECT user_id, chip_id, sum(bytes)::bigint AS bytes, sum(cost) AS cost FROM ledger GROUP BY user_id, chip_id
), chips AS (
    SELECT user_id, chip_id, total_bytes, total_cost
    FROM chip_usage_months WHERE month_year = :month AND user_id = ANY(:users)
), by_user AS (
    SELECT user_id, sum(bytes)::bigint AS bytes, sum(cost) AS cost FROM ledger GROUP BY user_id
), users AS (
    SELECT user_id, total_bytes, total_cost
    FROM user_proxy_costs WHERE month_year = :month AND user_id = ANY(:users)
)
SELECT 'usage_hours', coalesce(l.user_id, h.user_id), chip_id, NULL, provider_id, NULL, hour,
       h.total_bytes, coalesce(l.bytes, 0), h.total_cost, coalesce(l.cost, 0)
FROM by_hour l FULL JOIN hours h USING (chip_id, provider_id, hour)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(h.total_bytes, 0), coalesce(h.total_cost, 0))
UNION ALL
SELECT 'usage_price_months', coalesce(l.user_id, p.user_id), chip_id, proxy_id,
       coalesce(l.provider_id, p.provider_id), price_id, NULL,
       p.total_bytes, coalesce(l.bytes, 0), p.total_cost, coalesce(l.cost, 0)
FROM by_price l FULL JOIN prices p USING (chip_id, proxy_id, price_id)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(p.total_bytes, 0), coalesce(p.total_cost, 0))
UNION ALL
SELECT 'chip_usage_months', coalesce(l.user_id, c.user_id), chip_id, NULL, NULL, NULL, NULL,
       c.total_bytes, coalesce(l.bytes, 0), c.total_cost, coalesce(l.cost, 0)
FROM by_chip l FULL JOIN chips c USING (chip_id)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(c.total_bytes, 0), coalesce(c.total_cost, 0))
UNION ALL
SELECT 'user_proxy_costs', user_id, NULL, NULL, NULL, NULL, NULL,
       u.total_bytes, coalesce(l.bytes, 0), u.total_cost, coalesce(l.cost, 0)
FROM by_user l FULL JOIN users u USING (user_id)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(u.total_bytes, 0), coalesce(u.total_cost, 0))
""")


def differences(db: Session, users: Sequence[UUID], month: date, tz: ZoneInfo) -> list[Difference]:
    """Every aggregate of these customers' month that is not the sum of its ledger rows: adds the whole month up."""
    if not users:
        return []
    begins, ends = month_start(month, tz), month_start(next_month(month), tz)
    rows = db.execute(_ALL, {"users": list(users), "month": month, "begins": begins, "ends": ends})
    return [_difference(month, *row) for row in rows]


def _difference(
    month: date,
    aggregate: str,
    user_id: UUID,
    chip_id: UUID | None,
    proxy_id: UUID | None,
    provider_id: UUID | None,
    price_id: int | None,
    hour: datetime | None,
    found_bytes: int | None,
    expected_bytes: int,
    found_cost: Decimal | None,
    expected_cost: Decimal,
) -> Difference:
    keys: dict[str, Any] = {
        "user_id": user_id,
        "chip_id": chip_id,
        "proxy_id": proxy_id,
        "provider_id": provider_id,
        "price_id": price_id,
        "hour": hour,
        "month_year": month if hour is None else None,
    }
    named = {name: value for name, value in keys.items() if value is not None}
    return Difference(aggregate, named, found_bytes, expected_bytes, found_cost, expected_cost)


_HOURS: Final = text("""
WITH changed AS MATERIALIZED (
    SELECT chip_id, provider_id, hour, user_id, total_bytes, total_cost,
           CASE WHEN hour >= :this_begins THEN CAST(:this AS date) ELSE CAST(:last AS date) END AS month_year
    FROM usage_hours WHERE changed_at > :since AND hour >= :last_begins AND hour < :ends
), slots AS MATERIALIZED (
    SELECT DISTINCT chip_id, hour, month_year FROM changed
), ledger AS (
    SELECT s.chip_id, s.hour, s.month_year, l.* FROM slots s CROSS JOIN LATERAL (
        SELECT provider_id, user_id, sum(bytes_transferred) AS bytes, sum(cost) AS cost
        FROM proxy_usage_logs WHERE month_year = s.month_year AND chip_id = s.chip_id AND hour = s.hour
        GROUP BY provider_id, user_id
    ) l
)
SELECT DISTINCT coalesce(c.user_id, l.user_id), coalesce(c.month_year, l.month_year)
FROM changed c FULL JOIN ledger l USING (chip_id, provider_id, hour)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(c.total_bytes, 0), coalesce(c.total_cost, 0))
""")
_CHIPS: Final = text("""
WITH changed AS MATERIALIZED (
    SELECT chip_id, user_id, min(hour) AS first,
           CASE WHEN hour >= :this_begins THEN CAST(:this AS date) ELSE CAST(:last AS date) END AS month_year
    FROM usage_hours WHERE changed_at > :since AND hour >= :last_begins AND hour < :ends
    GROUP BY chip_id, user_id, month_year
), months AS MATERIALIZED (
    SELECT chip_id, user_id, month_year, total_bytes, total_cost
    FROM chip_usage_months WHERE changed_at > :since AND month_year IN (:this, :last)
), touched AS MATERIALIZED (
    SELECT chip_id, month_year, coalesce(m.user_id, c.user_id) AS user_id, m.total_bytes, m.total_cost, c.first,
           CASE WHEN month_year = :this THEN CAST(:this_begins AS timestamptz) ELSE :last_begins END AS begins,
           CASE WHEN month_year = :this THEN CAST(:ends AS timestamptz) ELSE :this_begins END AS ends
    FROM months m FULL JOIN changed c USING (chip_id, month_year)
)
SELECT * FROM (
SELECT t.chip_id, t.month_year, t.user_id,
       (coalesce(k.total_bytes, 0) + h.bytes, coalesce(k.total_cost, 0) + h.cost, p.bytes, p.cost)
           <> (t.total_bytes, t.total_cost, t.total_bytes, t.total_cost)
           OR t.total_bytes IS NULL AS is_wrong,
       h.upto,
       coalesce(k.total_bytes, 0) + h.bytes_before AS bytes, coalesce(k.total_cost, 0) + h.cost_before AS cost,
       k.since IS DISTINCT FROM h.upto AND h.upto > t.begins AS is_due
FROM touched t
LEFT JOIN usage_checkpoints k ON k.chip_id = t.chip_id AND k.month_year = t.month_year AND k.since <= t.first
CROSS JOIN LATERAL (
    SELECT coalesce(sum(total_bytes), 0) AS bytes, coalesce(sum(total_cost), 0) AS cost,
           coalesce(sum(total_bytes) FILTER (WHERE hour < :settled), 0) AS bytes_before,
           coalesce(sum(total_cost) FILTER (WHERE hour < :settled), 0) AS cost_before,
           least(t.ends, greatest(t.begins, :settled)) AS upto
    FROM usage_hours WHERE chip_id = t.chip_id AND hour >= coalesce(k.since, t.begins) AND hour < t.ends
) h
CROSS JOIN LATERAL (
    SELECT coalesce(sum(total_bytes), 0) AS bytes, coalesce(sum(total_cost), 0) AS cost
    FROM usage_price_months WHERE chip_id = t.chip_id AND month_year = t.month_year
) p
) looked_at WHERE is_wrong OR is_due
""")
_USERS: Final = text("""
SELECT u.user_id, u.month_year, (c.bytes, c.cost) <> (u.total_bytes, u.total_cost)
FROM user_proxy_costs u CROSS JOIN LATERAL (
    SELECT coalesce(sum(total_bytes), 0) AS bytes, coalesce(sum(total_cost), 0) AS cost
    FROM chip_usage_months WHERE user_id = u.user_id AND month_year = u.month_year
) c
WHERE u.month_year IN (:this, :last) AND u.last_updated > :since
""")


@dataclass(slots=True)
class Recent:
    """``touched``: customer months that moved; ``suspects``: those in which something does not add up."""

    touched: set[CustomerMonth]
    suspects: set[CustomerMonth]
    checkpoints: list[Checkpoint]


def recent_suspects(db: Session, since: datetime, months: OpenMonths, *, now: datetime, tz: ZoneInfo) -> Recent:
    """Looks at the hours that moved since a moment, and from them up to the customer, level by level.

    Each hour is compared with the ledger, each chip's month with its hours and prices, each customer's month with its
    chips. What a chip used before today is a checkpoint, so neither a long month nor a long history costs more.
    """
    bounds = {"since": since, "settled": _settled(now, tz), **months.bounds}
    suspects: set[CustomerMonth] = {(row[0], row[1]) for row in db.execute(_HOURS, _only(_HOURS, bounds))}
    checkpoints = []
    for chip_id, month, user_id, is_wrong, upto, count, cost, is_due in db.execute(_CHIPS, _only(_CHIPS, bounds)):
        if is_wrong:
            suspects.add((user_id, month))
        elif is_due:
            checkpoints.append(Checkpoint(chip_id, month, upto, count, cost))
    touched = set()
    for user_id, month, is_wrong in db.execute(_USERS, _only(_USERS, bounds)):
        touched.add((user_id, month))
        if is_wrong:
            suspects.add((user_id, month))
    return Recent(touched, suspects, checkpoints)


def _settled(now: datetime, tz: ZoneInfo) -> datetime:
    """The start of the newest billing day whose earlier hours do not move any more, but for late reports."""
    return billing_day(now - STILL_MOVING, tz)


def _only(statement: Any, bounds: dict[str, Any]) -> dict[str, Any]:
    return {name: bounds[name] for name in statement.compile().params}
