"""A month that has ended: its plans and prices are fixed, and everybody is told what it came to.

Each step may be repeated: what is closed stays closed, and nobody is told twice.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from whago.domain.models import ChipUsageMonth, Notification, UsageHour, User, UserProxyCost
from whago.domain.models.notifying import admin_ids, notify
from whago.domain.rules.months import day_start, month_start, next_month
from whago.domain.rules.reporting import billed
from whago.kit.db import transaction

CUSTOMERS_PER_STEP: Final = 100  # told in one transaction: a second's work that an interruption may repeat
CUSTOMER_KIND: Final = "monthly_report"
ADMIN_KIND: Final = "monthly_summary"
DAY_KIND: Final = "daily_summary"

_ADD_THOSE_WITHOUT_USAGE: Final = text("""
INSERT INTO user_proxy_costs (user_id, month_year, last_updated)
SELECT id, :month, :now FROM users
WHERE role = 'user' AND is_active AND deleted_at IS NULL AND created_at < :ends
ON CONFLICT (user_id, month_year) DO NOTHING
""")
_FIX_PLANS: Final = text("""
UPDATE user_proxy_costs c
   SET plan_name = p.name, plan_price = CASE WHEN u.role <> 'user' THEN 0 ELSE p.price END, closed_at = :now
  FROM users u JOIN plans p ON p.id = coalesce(u.plan_id, (SELECT id FROM plans WHERE is_default))
 WHERE u.id = c.user_id AND c.month_year = :month AND c.closed_at IS NULL
""")


def close_month(month: date, *, now: datetime, tz: ZoneInfo) -> int:
    """Fixes each customer's plan and price for a month that has ended; returns for how many.

    Also customers without usage get their row: they pay their plan all the same. Late reports still land in the month.
    """
    with transaction() as db:
        db.execute(_ADD_THOSE_WITHOUT_USAGE, {"month": month, "now": now, "ends": month_start(next_month(month), tz)})
        closed = db.execute(_FIX_PLANS, {"month": month, "now": now})
        return int(getattr(closed, "rowcount", 0))


def tell_customers(month: date, *, now: datetime) -> int:
    """Tells some of those with usage what their month came to; returns how many, 0 when all know it."""
    key = _key(CUSTOMER_KIND, month)
    told = select(Notification.id).where(Notification.user_id == User.id, Notification.dedupe_key == key).exists()
    query = (
        select(UserProxyCost)
        .join(User, User.id == UserProxyCost.user_id)
        .where(UserProxyCost.month_year == month, UserProxyCost.total_bytes > 0)
        .where(User.is_active, User.deleted_at.is_(None), ~told)
        .order_by(UserProxyCost.user_id)
        .limit(CUSTOMERS_PER_STEP)
    )
    with transaction() as db:
        rows = db.scalars(query).all()
        for row in rows:
            facts = _facts_of_customer(db, row)
            notify(db, [row.user_id], CUSTOMER_KIND, "info", dedupe_key=key, data=facts, now=now)
        return len(rows)


def tell_admins(month: date, *, now: datetime) -> int:
    """Tells every administrator what the month came to; returns how many did not know."""
    with transaction() as db:
        months = db.scalars(select(UserProxyCost).where(UserProxyCost.month_year == month)).all()
        traffic = sum((billed(row.total_cost) for row in months), Decimal(0))
        plans = sum((row.plan_price or Decimal(0) for row in months), Decimal(0))
        facts = {
            "month": f"{month:%Y-%m}",
            "used_bytes": sum(row.total_bytes for row in months),
            "customers": sum(row.total_bytes > 0 for row in months),
            "traffic_cost": str(traffic),
            "plans_cost": str(plans),
            "left_cost": str(plans - traffic),
        }
        key = _key(ADMIN_KIND, month)
        return len(notify(db, admin_ids(db), ADMIN_KIND, "info", dedupe_key=key, data=facts, now=now))


def tell_day(day: date, *, now: datetime, tz: ZoneInfo) -> int:
    """Tells every administrator what flowed on a day of the billing zone; returns how many did not know."""
    begins, ends = day_start(day, tz), day_start(day + timedelta(days=1), tz)
    with transaction() as db:
        used, cost, chips, customers = db.execute(
            select(
                func.coalesce(func.sum(UsageHour.total_bytes), 0),
                func.coalesce(func.sum(UsageHour.total_cost), 0),
                func.count(UsageHour.chip_id.distinct()),
                func.count(UsageHour.user_id.distinct()),
            ).where(UsageHour.hour >= begins, UsageHour.hour < ends)
        ).one()
        facts = {
            "day": day.isoformat(),
            "used_bytes": int(used),
            "traffic_cost": str(cost),
            "chips": chips,
            "customers": customers,
        }
        key = f"{DAY_KIND}:{day}"
        return len(notify(db, admin_ids(db), DAY_KIND, "info", dedupe_key=key, data=facts, now=now))


def _facts_of_customer(db: Session, row: UserProxyCost) -> dict[str, Any]:
    chips = db.scalar(
        select(func.count()).where(
            ChipUsageMonth.user_id == row.user_id,
            ChipUsageMonth.month_year == row.month_year,
            ChipUsageMonth.total_bytes > 0,
        )
    )
    return {
        "month": f"{row.month_year:%Y-%m}",
        "used_bytes": row.total_bytes,
        "traffic_cost": str(billed(row.total_cost)),
        "plan": row.plan_name,
        "chips": chips,
    }


def _key(kind: str, month: date) -> str:
    return f"{kind}:{month:%Y-%m}"
