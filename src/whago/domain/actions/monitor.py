"""The monitor: proves that the aggregates are what the ledger adds up to, repairs and reports what is not.

Finding needs no lock: a report commits ledger and aggregates together, so in one snapshot they must agree. Repairing
takes the lock of the customer's month, as every report does, and adds up again under it. The frequent check looks only
at what moved since ``since`` (models/proving.py), so a run costs what changed, not what exists; the nightly one adds
both open months up, some customers at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models import (
    ChipUsageMonth,
    Proxy,
    Severity,
    UsageCheckpoint,
    UsageHour,
    UsagePriceMonth,
    UserProxyCost,
    raise_alert,
)
from whago.domain.models.alerting import clear_calm
from whago.domain.models.proving import (
    Checkpoint,
    Difference,
    OpenMonths,
    differences,
    recent_suspects,
)
from whago.domain.models.quota import allowances, lock_months
from whago.domain.models.usage import CustomerMonth
from whago.domain.rules.months import billing_month, previous_month
from whago.domain.rules.thresholds import OnLimit
from whago.kit.db import locked, reading, signal, transaction
from whago.kit.rows import columns_of, insert_arrays

MARGIN: Final = timedelta(minutes=10)  # a report may carry a time from before it committed; timeouts are far below this
MONITORING: Final = "usage_monitor"  # lock: two monitors would correct a proxy's total twice
MISMATCH: Final = "ledger_mismatch"
MISMATCH_CALM: Final = timedelta(hours=1)  # a difference that comes back within it is the same trouble
TOLD_MAX: Final = 20  # differences that a notification names; the log has all of them
CUSTOMERS_PER_STEP: Final = 50  # of the nightly audit: a step's memory and time stay small however many there are
STEP_TIMEOUT_S: Final = 300  # a step of customers with a thousand chips each, on a slow disk


@dataclass(slots=True)
class Checked:
    """``months``: how many customer months were looked at. ``repaired``: what differed and was put right.

    ``over_limit``: customers of a blocking plan whose committed and leased bytes together pass its limit, which happens
    only when a limit was lowered meanwhile.
    """

    months: int = 0
    over_limit: list[UUID] = field(default_factory=list)
    repaired: list[Difference] = field(default_factory=list)


def check_usage(*, since: datetime | None, now: datetime, tz: ZoneInfo) -> Checked:
    """Checks what moved since a moment; None: this month and the last one whole, and every proxy."""
    months = OpenMonths.at(now, tz)
    checked = Checked()
    if since is None:
        touched, suspects = _all_suspects(months, tz)
    else:
        touched, suspects = _recent(since - MARGIN, months, now=now, tz=tz)
    with reading() as db:
        suspects |= _wrong_leases(db, touched, months)
        checked.over_limit = _over_limit(db, months.this)
    checked.months = len(touched)
    for user_id, month in sorted(suspects):
        checked.repaired += _repair_month(user_id, month, now, tz)
    checked.repaired += _check_proxies(months.last, all_of_them=since is None)
    _tell_admins(checked.repaired, now, tz)
    return checked


def _recent(
    since: datetime, months: OpenMonths, *, now: datetime, tz: ZoneInfo
) -> tuple[set[CustomerMonth], set[CustomerMonth]]:
    with reading() as db:
        db.execute(text(f"SET LOCAL statement_timeout = '{STEP_TIMEOUT_S}s'"))  # until all chips have their checkpoints
        found = recent_suspects(db, since, months, now=now, tz=tz)
    _keep(found.checkpoints)
    return found.touched, found.suspects


def _keep(checkpoints: Sequence[Checkpoint]) -> None:
    if not checkpoints:
        return
    names = ("chip_id", "month_year", "since", "total_bytes", "total_cost")
    new = insert_arrays(UsageCheckpoint.__table__, names)  # type: ignore[arg-type]
    put = new.on_conflict_do_update(index_elements=names[:2], set_={name: new.excluded[name] for name in names[2:]})
    with transaction() as db:
        db.execute(put, columns_of(names, sorted(astuple(one) for one in checkpoints)))


def _all_suspects(months: OpenMonths, tz: ZoneInfo) -> tuple[set[CustomerMonth], set[CustomerMonth]]:
    """Open months only: a closed one is billed, and its ledger may be archived."""
    touched: set[CustomerMonth] = set()
    suspects: set[CustomerMonth] = set()
    with transaction() as db:
        db.execute(delete(UsageCheckpoint).where(UsageCheckpoint.month_year < months.last))
    for month in (months.last, months.this):
        with reading() as db:
            users = db.scalars(select(UserProxyCost.user_id).where(UserProxyCost.month_year == month)).all()
        touched |= {(user_id, month) for user_id in users}
        for first in range(0, len(users), CUSTOMERS_PER_STEP):
            some = users[first : first + CUSTOMERS_PER_STEP]
            with reading() as db:
                db.execute(text(f"SET LOCAL statement_timeout = '{STEP_TIMEOUT_S}s'"))
                suspects |= {(one.keys["user_id"], month) for one in differences(db, some, month, tz)}
    return touched, suspects


_LEASED: Final = text("""
SELECT u.user_id, u.month_year FROM user_proxy_costs u CROSS JOIN LATERAL (
    SELECT coalesce(sum(greatest(0, granted_bytes - used_bytes)), 0) AS outstanding
    FROM quota_leases WHERE user_id = u.user_id AND month_year = u.month_year
) q
WHERE u.month_year = ANY(:months) AND (u.leased_bytes <> 0 OR u.user_id = ANY(:users))
  AND u.leased_bytes <> q.outstanding
""")


def _wrong_leases(db: Session, touched: Iterable[CustomerMonth], months: OpenMonths) -> set[CustomerMonth]:
    users = list({user_id for user_id, _month in touched})
    rows = db.execute(_LEASED, {"users": users, "months": [months.last, months.this]})
    return {(user_id, month) for user_id, month in rows}


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


_PROXY_SUSPECTS: Final = text("""
SELECT p.id FROM proxies p
LEFT JOIN proxy_usage_totals t ON t.proxy_id = p.id AND t.before = :before
LEFT JOIN (
    SELECT proxy_id, sum(total_bytes) AS bytes FROM usage_price_months WHERE month_year >= :before GROUP BY proxy_id
) o ON o.proxy_id = p.id
WHERE t.proxy_id IS NULL OR p.total_bytes_used <> t.total_bytes + coalesce(o.bytes, 0)
""")
_PROXY_SUMS: Final = text("""
SELECT p.id, p.total_bytes_used, coalesce(sum(u.total_bytes), 0)::bigint AS expected,
       coalesce(sum(u.total_bytes) FILTER (WHERE u.month_year < :before), 0)::bigint AS earlier
FROM proxies p LEFT JOIN usage_price_months u ON u.proxy_id = p.id
WHERE p.id = ANY(:proxies) GROUP BY p.id ORDER BY p.id
""")
_KEEP_TOTALS: Final = text("""
INSERT INTO proxy_usage_totals (proxy_id, before, total_bytes)
SELECT * FROM unnest(CAST(:proxies AS uuid[]), CAST(:befores AS date[]), CAST(:totals AS bigint[]))
ON CONFLICT (proxy_id) DO UPDATE SET before = excluded.before, total_bytes = excluded.total_bytes
""")


def _check_proxies(before: date, *, all_of_them: bool) -> list[Difference]:
    """Running totals of proxies. Months before ``before`` are a kept sum; what disagrees with it is added up whole."""
    with transaction() as guard:
        locked(guard, MONITORING)
        with reading() as db:
            suspects = db.scalars(select(Proxy.id) if all_of_them else _PROXY_SUSPECTS, {"before": before}).all()
            rows = db.execute(_PROXY_SUMS, {"proxies": suspects, "before": before}).all() if suspects else []
        if not rows:
            return []
        ids, earlier = [row.id for row in rows], [row.earlier for row in rows]
        guard.execute(_KEEP_TOTALS, {"proxies": ids, "befores": [before] * len(ids), "totals": earlier})
        wrong = [
            Difference("proxies", {"proxy_id": row.id}, row.total_bytes_used, row.expected)
            for row in rows
            if row.total_bytes_used != row.expected
        ]
        _repair_proxies(guard, wrong)
        return wrong


def _repair_proxies(db: Session, wrong: Sequence[Difference]) -> None:
    """By the difference, not by the sum: reports that add to the total meanwhile are not undone."""
    table = Proxy.__table__
    for one in wrong:
        db.connection().execute(
            update(Proxy)
            .where(table.c.id == bindparam("key"))
            .values(total_bytes_used=table.c.total_bytes_used + bindparam("missing")),
            {"key": one.keys["proxy_id"], "missing": one.expected_bytes - (one.found_bytes or 0)},
        )


def _repair_month(user_id: UUID, month: date, now: datetime, tz: ZoneInfo) -> list[Difference]:
    """Adds the customer's month up again under its lock and puts right what still differs."""
    with transaction() as db:
        db.execute(text(f"SET LOCAL statement_timeout = '{STEP_TIMEOUT_S}s'"))
        row = lock_months(db, [(user_id, month)], now)[user_id, month]
        is_open = month >= previous_month(billing_month(now, tz))
        repaired = differences(db, [user_id], month, tz) if is_open else []
        for one in repaired:
            _put_right(db, row, one, now)
        _forget_checkpoints(db, user_id, month)
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
    model = _MODELS[one.aggregate]
    totals: dict[str, Any] = {"total_bytes": one.expected_bytes, "total_cost": one.expected_cost}
    if "changed_at" in model.__table__.c:
        totals["changed_at"] = now  # sums of days that are over follow it
    key = [column.name for column in model.__table__.primary_key]
    db.execute(insert(model).values(**one.keys, **totals).on_conflict_do_update(index_elements=key, set_=totals))


_MODELS: Final[dict[str, Any]] = {
    "usage_hours": UsageHour,
    "usage_price_months": UsagePriceMonth,
    "chip_usage_months": ChipUsageMonth,
}


def _forget_checkpoints(db: Session, user_id: UUID, month: date) -> None:
    """One may be what was wrong; the next check adds these chips' month up again."""
    chips = select(ChipUsageMonth.chip_id).where(ChipUsageMonth.user_id == user_id, ChipUsageMonth.month_year == month)
    db.execute(
        delete(UsageCheckpoint).where(UsageCheckpoint.month_year == month, UsageCheckpoint.chip_id.in_(chips)),
        execution_options={"synchronize_session": False},
    )


def _tell_admins(repaired: Sequence[Difference], now: datetime, tz: ZoneInfo) -> None:
    """One alert a day, however often it happens; it is over when nothing was found for a while."""
    with transaction() as db:
        if not repaired:
            clear_calm(db, MISMATCH, now=now, calm=MISMATCH_CALM)
            return
        told = {"count": len(repaired), "differences": [one.told() for one in repaired[:TOLD_MAX]]}
        subject = f"ledger:{now.astimezone(tz):%Y-%m-%d}"
        raise_alert(db, MISMATCH, subject, now=now, severity=Severity.ERROR, data=told)
