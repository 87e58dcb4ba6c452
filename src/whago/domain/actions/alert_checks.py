"""Alerts that nothing raises by itself: somebody must look, and these are the looks. Each also ends what is over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from whago.domain.models import (
    Alert,
    Chip,
    ChipStatus,
    ClockRun,
    GatewayBoot,
    Severity,
    User,
    UserProxyCost,
    clear_alert,
    raise_alert,
)
from whago.domain.models.alerting import clear_others
from whago.domain.models.quota import Allowance, allowances
from whago.domain.models.quota_alerts import month_facts
from whago.domain.rules.channels import QUOTA_KINDS, threshold_of
from whago.domain.rules.months import billing_month
from whago.domain.rules.projection import may_exceed, progress_of, projected_bytes, will_last
from whago.domain.rules.spikes import DAYS_LOOKED_AT, DAYS_NEEDED, FLOOR_COST, SpikeLine, spike_line
from whago.domain.rules.thresholds import is_spent
from whago.kit.db import transaction

GATEWAY_SILENT_AFTER: Final = timedelta(
    seconds=30
)  # a restart takes less; its new process settles the old one's counters
SCHEDULER_SILENT_AFTER: Final = timedelta(seconds=90)  # the heartbeat comes every ten seconds
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Looked:
    """Alerts that a look has raised and ended."""

    raised: int = 0
    cleared: int = 0


def check_quotas(*, now: datetime, tz: ZoneInfo) -> Looked:
    """Ends alerts about thresholds that the month or the plan has left behind; the traffic raises them."""
    cleared = 0
    with transaction() as db:
        standing = db.scalars(select(Alert).where(Alert.kind.in_(QUOTA_KINDS), Alert.cleared_at.is_(None))).all()
        owners = {one.user_id for one in standing if one.user_id is not None}
        months, plans = _months(db, owners, now, tz), allowances(db, owners)
        for one in standing:
            assert one.user_id is not None
            row, plan = months[one.user_id], plans.get(one.user_id)
            if plan is None or not _is_reached(one, row, plan):
                told = month_facts(row, plan) if plan is not None else {}
                cleared += clear_alert(db, one.kind, one.subject, now=now, data=told, tell=plan is not None)
    return Looked(cleared=cleared)


def check_projections(*, now: datetime, tz: ZoneInfo) -> Looked:
    """Customers who will pass their limit before the month ends, if they go on as so far."""
    progress, month = progress_of(now, tz), billing_month(now, tz)
    raised = cleared = 0
    with transaction() as db:
        standing = _open(db, "quota_projected")
        rows = {
            row.user_id: row
            for row in db.scalars(
                select(UserProxyCost).where(UserProxyCost.month_year == month, UserProxyCost.total_bytes > 0)
            )
        }
        plans = allowances(db, rows)
        for user_id, row in rows.items():
            limit = plans[user_id].limit if user_id in plans else None
            if may_exceed(row.total_bytes, limit, progress):
                raised += _raise_projection(db, row, plans[user_id], progress, now)
        for subject in standing:
            cleared += _end_projection(db, UUID(subject), rows, plans, progress, now, tz)
    return Looked(raised, cleared)


def check_spikes(*, now: datetime) -> Looked:
    """Chips whose last 24 hours cost far more than their days before. Only those above the floor are looked at."""
    raised = cleared = 0
    with transaction() as db:
        standing = _open(db, "chip_cost_spike")
        today = {
            row.chip_id: row
            for row in db.execute(_LAST_DAY, {"since": now - DAY, "floor": FLOOR_COST, "also": list(standing)})
        }
        lines = _lines(db, list(today), now)
        owners = {chip.id: chip for chip in db.scalars(select(Chip).where(Chip.id.in_(today)))}
        for chip_id, day in today.items():
            line, chip = lines.get(chip_id), owners.get(chip_id)
            if line is not None and chip is not None and chip.deleted_at is None and day.cost > line.line:
                raised += _raise_spike(db, chip, day, line, now)
            elif str(chip_id) in standing and (line is None or chip is None or day.cost < line.calm):
                cleared += clear_alert(db, "chip_cost_spike", str(chip_id), now=now)
        gone = set(standing) - {str(chip_id) for chip_id in today}
        cleared += sum(clear_alert(db, "chip_cost_spike", subject, now=now) for subject in sorted(gone))
    return Looked(raised, cleared)


def check_waiting_chips(*, now: datetime) -> Looked:
    """Customers with chips that have waited for a proxy for a while: one alert each, however many chips wait."""
    with transaction() as db:
        waiting: dict[UUID, list[Chip]] = {}
        for chip in db.scalars(
            select(Chip)
            .where(Chip.status == ChipStatus.WAITING_PROXY, Chip.deleted_at.is_(None))
            .order_by(Chip.user_id, Chip.created_at, Chip.id)
        ):
            waiting.setdefault(chip.user_id, []).append(chip)
        raised = sum(
            raise_alert(
                db,
                "chip_waiting_proxy",
                str(user_id),
                now=now,
                severity=Severity.WARNING,
                user_id=user_id,
                data={"alias": chips[0].alias, "chip_id": str(chips[0].id), "count": len(chips)},
            )
            for user_id, chips in waiting.items()
        )
        return Looked(raised, clear_others(db, "chip_waiting_proxy", [str(user_id) for user_id in waiting], now=now))


def check_gateways(*, now: datetime) -> Looked:
    """Gateways that neither stopped nor report; one that was settled meanwhile is no longer silent."""
    with transaction() as db:
        silent = db.scalars(
            select(GatewayBoot).where(
                GatewayBoot.stopped_at.is_(None),
                GatewayBoot.settled_at.is_(None),
                GatewayBoot.is_demo.is_(False),
                GatewayBoot.last_seen_at < now - GATEWAY_SILENT_AFTER,
            )
        ).all()
        raised = sum(
            raise_alert(
                db,
                "gateway_silent",
                str(boot.id),
                now=now,
                severity=Severity.ERROR,
                data={"host": boot.host, "pid": boot.pid, "since_at": boot.last_seen_at.isoformat()},
            )
            for boot in silent
        )
        return Looked(raised, clear_others(db, "gateway_silent", [str(boot.id) for boot in silent], now=now))


def check_scheduler(*, now: datetime, watched_since: datetime) -> bool:
    """Whether the clocks stand still. ``watched_since``: when the watcher began; it knows nothing of before.

    The alert ends with the next run that is seen, not with a watcher that has just begun and knows nothing yet.
    """
    with transaction() as db:
        last = db.scalar(select(func.max(ClockRun.started_at)))
        if last is not None and now - last <= SCHEDULER_SILENT_AFTER:
            clear_alert(db, "scheduler_silent", "scheduler", now=now)
            return False
        since = watched_since if last is None else max(last, watched_since)
        if now - since <= SCHEDULER_SILENT_AFTER:
            return False
        raise_alert(
            db,
            "scheduler_silent",
            "scheduler",
            now=now,
            severity=Severity.ERROR,
            data={"since_at": (last or watched_since).isoformat()},
        )
        return True


def _open(db: Session, kind: str) -> dict[str, dict[str, Any]]:
    rows = db.execute(select(Alert.subject, Alert.data).where(Alert.kind == kind, Alert.cleared_at.is_(None)))
    return {row.subject: row.data for row in rows}


def _months(db: Session, user_ids: Collection[UUID], now: datetime, tz: ZoneInfo) -> dict[UUID, UserProxyCost]:
    """The running month of each, an empty one where nothing flowed yet."""
    month = billing_month(now, tz)
    found = db.scalars(
        select(UserProxyCost).where(UserProxyCost.user_id.in_(user_ids), UserProxyCost.month_year == month)
    )
    rows = {row.user_id: row for row in found}
    for user_id in user_ids:
        rows.setdefault(user_id, UserProxyCost(user_id=user_id, month_year=month, total_bytes=0))
    return rows


def _is_reached(one: Alert, row: UserProxyCost, plan: Allowance) -> bool:
    """Whether the threshold still stands in the running month."""
    if one.data.get("month") != f"{row.month_year:%Y-%m}" or plan.limit is None:
        return False
    if one.kind == "quota_exhausted":
        return is_spent(row.total_bytes, plan.limit)
    return row.total_bytes * 100 >= plan.limit * threshold_of(one.kind, one.data)


def _raise_projection(db: Session, row: UserProxyCost, plan: Allowance, progress: float, now: datetime) -> bool:
    return raise_alert(
        db,
        "quota_projected",
        str(row.user_id),
        now=now,
        severity=Severity.WARNING,
        user_id=row.user_id,
        data={**month_facts(row, plan), "projected_bytes": projected_bytes(row.total_bytes, progress)},
    )


def _end_projection(
    db: Session,
    user_id: UUID,
    rows: dict[UUID, UserProxyCost],
    plans: dict[UUID, Allowance],
    progress: float,
    now: datetime,
    tz: ZoneInfo,
) -> bool:
    """Silently when the limit was passed after all: that is told by the traffic."""
    row = rows.get(user_id) or _months(db, [user_id], now, tz)[user_id]
    plan = plans.get(user_id) or allowances(db, [user_id]).get(user_id)
    if plan is None:
        return clear_alert(db, "quota_projected", str(user_id), now=now, tell=False)
    if plan.limit and row.total_bytes >= plan.limit:
        return clear_alert(db, "quota_projected", str(user_id), now=now, tell=False)
    if not will_last(row.total_bytes, plan.limit, progress):
        return False
    told = {**month_facts(row, plan), "projected_bytes": projected_bytes(row.total_bytes, progress)}
    return clear_alert(db, "quota_projected", str(user_id), now=now, data=told, tell=plan.limit is not None)


_LAST_DAY: Final = text("""
SELECT chip_id, sum(total_bytes)::bigint AS bytes, sum(total_cost) AS cost FROM usage_hours WHERE hour >= :since
GROUP BY chip_id HAVING sum(total_cost) >= :floor OR chip_id::text = ANY(:also)
""")
_DAYS_BEFORE: Final = text("""
SELECT chip_id, floor(extract(epoch FROM (:until - hour)) / 86400) AS age, sum(total_cost) AS cost
FROM usage_hours WHERE chip_id = ANY(:chips) AND hour >= :since AND hour < :until
GROUP BY chip_id, age HAVING sum(total_bytes) > 0
""")


def _lines(db: Session, chip_ids: Sequence[UUID], now: datetime) -> dict[UUID, SpikeLine | None]:
    """By chip; stretches of 24 hours that end where the last one begins."""
    until = now - DAY
    days: dict[UUID, list[Decimal]] = {}
    values = {"chips": list(chip_ids), "until": until, "since": until - DAYS_LOOKED_AT * DAY}
    for chip_id, _age, cost in db.execute(_DAYS_BEFORE, values):
        days.setdefault(chip_id, []).append(cost)
    return {chip_id: spike_line(costs) for chip_id, costs in days.items() if len(costs) >= DAYS_NEEDED}


def _raise_spike(db: Session, chip: Chip, day: Any, line: SpikeLine, now: datetime) -> bool:
    owner = db.scalar(select(User.name).where(User.id == chip.user_id))
    return raise_alert(
        db,
        "chip_cost_spike",
        str(chip.id),
        now=now,
        severity=Severity.WARNING,
        user_id=chip.user_id,
        to_admins=True,
        data={
            "chip_id": str(chip.id),
            "alias": chip.alias,
            "customer": owner,
            "used_bytes": day.bytes,
            "day_cost": str(day.cost),
            "usual_cost": str(line.usual),
        },
    )
