"""The monitor: proves that the aggregates are what the ledger adds up to, repairs and reports what is not.

Finding needs no lock: a report commits ledger and aggregates together, so in one snapshot they must agree. Repairing
takes the lock of the customer's month, as every report does, and adds up again under it. Only months that moved since
``since`` are looked at, so a run costs what changed, not what exists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models import (
    ChipUsageMonth,
    Notification,
    Proxy,
    ProxyUsageMonth,
    UsageHour,
    User,
    UserProxyCost,
)
from whago.domain.models.quota import allowances, lock_months
from whago.domain.rules.months import billing_month, month_start, next_month, previous_month
from whago.domain.rules.thresholds import OnLimit
from whago.kit.db import locked, reading, signal, transaction

MARGIN: Final = timedelta(minutes=10)  # a report may carry a time from before it committed; timeouts are far below this
MONITORING: Final = "usage_monitor"  # lock: two monitors would correct a proxy's total twice
TOLD_MAX: Final = 20  # differences that a notification names; the log has all of them

Month = tuple[UUID, date]


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


@dataclass(slots=True)
class Checked:
    """``months``: how many customer months were added up. ``repaired``: what differed and was put right.

    ``over_limit``: customers of a blocking plan whose committed and leased bytes together pass its limit, which happens
    only when a limit was lowered meanwhile.
    """

    months: int = 0
    over_limit: list[UUID] = field(default_factory=list)
    repaired: list[Difference] = field(default_factory=list)


def check_usage(*, since: datetime | None, now: datetime, tz: ZoneInfo) -> Checked:
    """Checks what moved since a moment; None: this month and the last one whole, and every proxy."""
    checked = Checked()
    with transaction() as guard:
        locked(guard, MONITORING)
        with reading() as db:
            touched = _touched(db, since)
            checked.months = len(touched)
            suspects = _suspects(db, touched, billing_month(now, tz), tz) | _wrong_leases(db, touched)
            checked.over_limit = _over_limit(db, billing_month(now, tz))
            has_sums = db.scalar(select(ProxyUsageMonth.proxy_id).limit(1)) is not None
            fresh, wrong_proxies = _proxies(db, touched if has_sums else _touched(db, None))
        _keep(guard, fresh)
        checked.repaired += _repair_proxies(guard, wrong_proxies)
    for user_id, month in sorted(suspects):
        checked.repaired += _repair_month(user_id, month, now, tz)
    if checked.repaired:
        _tell_admins(checked.repaired, now, tz)
    return checked


def _touched(db: Session, since: datetime | None) -> list[Month]:
    query = select(UserProxyCost.user_id, UserProxyCost.month_year)
    if since is not None:
        query = query.where(UserProxyCost.last_updated > since - MARGIN)
    return [(user_id, month) for user_id, month in db.execute(query)]


def _suspects(db: Session, touched: Collection[Month], this_month: date, tz: ZoneInfo) -> set[Month]:
    """Open months only: a closed one is billed, and its ledger may be archived."""
    suspects: set[Month] = set()
    for month in (previous_month(this_month), this_month):
        users = [user_id for user_id, touched_month in touched if touched_month == month]
        suspects |= {(one.keys["user_id"], month) for one in _differences(db, users, month, tz)}
    return suspects


_COMPARE: Final = text("""
WITH ledger AS MATERIALIZED (
    SELECT user_id, chip_id, provider_id, hour, sum(bytes_transferred)::bigint AS bytes, sum(cost) AS cost
    FROM proxy_usage_logs WHERE month_year = :month AND user_id = ANY(:users)
    GROUP BY user_id, chip_id, provider_id, hour
), hours AS (
    SELECT user_id, chip_id, provider_id, hour, total_bytes, total_cost
    FROM usage_hours WHERE user_id = ANY(:users) AND hour >= :begins AND hour < :ends
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
SELECT 'usage_hours', coalesce(l.user_id, h.user_id), chip_id, provider_id, hour,
       h.total_bytes, coalesce(l.bytes, 0), h.total_cost, coalesce(l.cost, 0)
FROM ledger l FULL JOIN hours h USING (chip_id, provider_id, hour)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(h.total_bytes, 0), coalesce(h.total_cost, 0))
UNION ALL
SELECT 'chip_usage_months', coalesce(l.user_id, c.user_id), chip_id, NULL, NULL,
       c.total_bytes, coalesce(l.bytes, 0), c.total_cost, coalesce(l.cost, 0)
FROM by_chip l FULL JOIN chips c USING (chip_id)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(c.total_bytes, 0), coalesce(c.total_cost, 0))
UNION ALL
SELECT 'user_proxy_costs', user_id, NULL, NULL, NULL,
       u.total_bytes, coalesce(l.bytes, 0), u.total_cost, coalesce(l.cost, 0)
FROM by_user l FULL JOIN users u USING (user_id)
WHERE (coalesce(l.bytes, 0), coalesce(l.cost, 0)) <> (coalesce(u.total_bytes, 0), coalesce(u.total_cost, 0))
""")


def _differences(db: Session, users: Sequence[UUID], month: date, tz: ZoneInfo) -> list[Difference]:
    if not users:
        return []
    begins, ends = month_start(month, tz), month_start(next_month(month), tz)
    rows = db.execute(_COMPARE, {"users": list(users), "month": month, "begins": begins, "ends": ends})
    return [_difference(month, *row) for row in rows]


def _difference(
    month: date,
    aggregate: str,
    user_id: UUID,
    chip_id: UUID | None,
    provider_id: UUID | None,
    hour: datetime | None,
    found_bytes: int | None,
    expected_bytes: int,
    found_cost: Decimal | None,
    expected_cost: Decimal,
) -> Difference:
    keys: dict[str, Any] = {"user_id": user_id, "chip_id": chip_id, "provider_id": provider_id, "hour": hour}
    if hour is None:
        keys["month_year"] = month
    named = {name: value for name, value in keys.items() if value is not None}
    return Difference(aggregate, named, found_bytes, expected_bytes, found_cost, expected_cost)


_LEASED: Final = text("""
SELECT u.user_id, u.month_year FROM user_proxy_costs u LEFT JOIN quota_leases q USING (user_id, month_year)
WHERE u.leased_bytes <> 0 OR u.user_id = ANY(:users)
GROUP BY u.id HAVING u.leased_bytes <> coalesce(sum(greatest(0, q.granted_bytes - q.used_bytes)), 0)
""")


def _wrong_leases(db: Session, touched: Iterable[Month]) -> set[Month]:
    users = list({user_id for user_id, _month in touched})
    return {(user_id, month) for user_id, month in db.execute(_LEASED, {"users": users})}


def _over_limit(db: Session, month: date) -> list[UUID]:
    """Only customers with leases: without one nothing can be forwarded anyway."""
    reserved = UserProxyCost.total_bytes + UserProxyCost.leased_bytes
    query = select(UserProxyCost.user_id, reserved).where(
        UserProxyCost.month_year == month, UserProxyCost.leased_bytes > 0
    )
    rows = db.execute(query).all()
    plans = allowances(db, [user_id for user_id, _reserved in rows]) if rows else {}
    return [
        user_id
        for user_id, bytes_reserved in rows
        if (plan := plans[user_id]).on_limit is OnLimit.BLOCK and plan.limit is not None and bytes_reserved > plan.limit
    ]


_PROXY_MONTHS: Final = text("""
SELECT proxy_id, user_id, month_year, sum(bytes_transferred)::bigint
FROM proxy_usage_logs WHERE month_year = :month AND user_id = ANY(:users)
GROUP BY proxy_id, user_id, month_year
""")
_PROXY_TOTALS: Final = text("""
SELECT p.id, p.total_bytes_used, coalesce(sum(m.total_bytes), 0)::bigint
FROM proxies p LEFT JOIN proxy_usage_months m ON m.proxy_id = p.id GROUP BY p.id
""")
_KNOWN_MONTHS: Final = text("""
SELECT proxy_id, user_id, month_year, total_bytes FROM proxy_usage_months
WHERE month_year = :month AND user_id = ANY(:users)
""")
ProxyMonth = tuple[UUID, UUID, date]


def _proxies(db: Session, touched: Collection[Month]) -> tuple[dict[ProxyMonth, int], list[Difference]]:
    """What the ledger now holds of the months that moved, and the proxies whose running total disagrees with it."""
    fresh: dict[ProxyMonth, int] = {}
    known: dict[ProxyMonth, int] = {}
    for month in {month for _user_id, month in touched}:
        users = [user_id for user_id, touched_month in touched if touched_month == month]
        for query, kept in ((_PROXY_MONTHS, fresh), (_KNOWN_MONTHS, known)):
            for proxy_id, user_id, month_year, count in db.execute(query, {"month": month, "users": users}):
                kept[proxy_id, user_id, month_year] = count
    grown = {key: max(count - known.get(key, 0), 0) for key, count in fresh.items()}  # a ledger row never shrinks
    added: dict[UUID, int] = {}
    for (proxy_id, _user_id, _month), count in grown.items():
        added[proxy_id] = added.get(proxy_id, 0) + count
    wrong = [
        Difference("proxies", {"proxy_id": proxy_id}, found, expected)
        for proxy_id, found, kept_bytes in db.execute(_PROXY_TOTALS)
        if found != (expected := kept_bytes + added.get(proxy_id, 0))
    ]
    return {key: fresh[key] for key, count in grown.items() if count}, wrong


def _keep(db: Session, fresh: dict[ProxyMonth, int]) -> None:
    if not fresh:
        return
    new = insert(ProxyUsageMonth)
    db.execute(
        new.on_conflict_do_update(
            index_elements=["proxy_id", "user_id", "month_year"], set_={"total_bytes": new.excluded.total_bytes}
        ),
        [
            {"proxy_id": proxy_id, "user_id": user_id, "month_year": month, "total_bytes": count}
            for (proxy_id, user_id, month), count in fresh.items()
        ],
    )


def _repair_proxies(db: Session, wrong: Sequence[Difference]) -> list[Difference]:
    """By the difference, not by the sum: reports that add to the total meanwhile are not undone."""
    table = Proxy.__table__
    for one in sorted(wrong, key=lambda difference: str(difference.keys["proxy_id"])):
        db.connection().execute(
            update(Proxy)
            .where(table.c.id == bindparam("key"))
            .values(total_bytes_used=table.c.total_bytes_used + bindparam("missing")),
            {"key": one.keys["proxy_id"], "missing": one.expected_bytes - (one.found_bytes or 0)},
        )
    return list(wrong)


def _repair_month(user_id: UUID, month: date, now: datetime, tz: ZoneInfo) -> list[Difference]:
    """Adds the customer's month up again under its lock and puts right what still differs."""
    with transaction() as db:
        row = lock_months(db, [(user_id, month)], now)[user_id, month]
        is_open = month >= previous_month(billing_month(now, tz))
        repaired = _differences(db, [user_id], month, tz) if is_open else []
        for one in repaired:
            _put_right(db, row, one, now)
        leased = int(db.scalar(_OUTSTANDING, {"user": user_id, "month": month}) or 0)
        if row.leased_bytes != leased:
            keys = {"user_id": user_id, "month_year": month}
            repaired.append(Difference("user_proxy_costs.leased_bytes", keys, row.leased_bytes, leased))
            row.leased_bytes = leased
        signal(db, "quota", user_id)  # what gateways believe about this customer may be wrong, too
        return repaired


_OUTSTANDING: Final = text("""
SELECT sum(greatest(0, granted_bytes - used_bytes)) FROM quota_leases WHERE user_id = :user AND month_year = :month
""")


def _put_right(db: Session, row: UserProxyCost, one: Difference, now: datetime) -> None:
    if one.aggregate == "user_proxy_costs":
        row.total_bytes, row.total_cost = one.expected_bytes, one.expected_cost or Decimal(0)
        row.last_updated = now
        return
    model: Any = UsageHour if one.aggregate == "usage_hours" else ChipUsageMonth
    totals = {"total_bytes": one.expected_bytes, "total_cost": one.expected_cost}
    key = [column.name for column in model.__table__.primary_key]
    db.execute(insert(model).values(**one.keys, **totals).on_conflict_do_update(index_elements=key, set_=totals))


def _tell_admins(repaired: Sequence[Difference], now: datetime, tz: ZoneInfo) -> None:
    """One notification a day for each administrator, however often it happens."""
    with transaction() as db:
        admins = db.scalars(select(User.id).where(User.role == "admin", User.deleted_at.is_(None))).all()
        if not admins:
            return
        told = {"count": len(repaired), "differences": [one.told() for one in repaired[:TOLD_MAX]]}
        db.execute(
            insert(Notification).on_conflict_do_nothing(),
            [
                {
                    "user_id": admin_id,
                    "kind": "ledger_mismatch",
                    "level": "error",
                    "dedupe_key": f"ledger_mismatch:{now.astimezone(tz):%Y-%m-%d}",
                    "data": told,
                    "created_at": now,
                }
                for admin_id in admins
            ],
        )
