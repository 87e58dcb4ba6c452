"""A customer's month under its lock: the single place where bytes are committed and leased."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models.accounts import Plan, User
from whago.domain.models.usage import UserProxyCost
from whago.domain.rules.thresholds import OnLimit


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a plan allows a month. ``limit`` in bytes; None is unlimited."""

    limit: int | None
    on_limit: OnLimit
    max_chips: int


def lock_months(
    db: Session, keys: Collection[tuple[UUID, date]], now: datetime
) -> dict[tuple[UUID, date], UserProxyCost]:
    """The rows of these (user, month) pairs, made when missing, locked in one order so that writers never deadlock."""
    if not keys:
        return {}
    ordered = sorted(keys)
    rows = [{"user_id": user_id, "month_year": month, "last_updated": now} for user_id, month in ordered]
    db.execute(insert(UserProxyCost).on_conflict_do_nothing(), rows)
    found = db.scalars(
        select(UserProxyCost)
        .where(tuple_(UserProxyCost.user_id, UserProxyCost.month_year).in_(ordered))
        .order_by(UserProxyCost.user_id, UserProxyCost.month_year)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {(row.user_id, row.month_year): row for row in found}


def allowances(db: Session, user_ids: Collection[UUID]) -> dict[UUID, Allowance]:
    """Each user's plan as it is now; a user without a plan has the default plan."""
    default = db.scalars(select(Plan).where(Plan.is_default)).one()
    rows = db.execute(select(User.id, Plan).outerjoin(Plan, Plan.id == User.plan_id).where(User.id.in_(user_ids))).all()
    return {user_id: _allowance(plan or default) for user_id, plan in rows}


def _allowance(plan: Plan) -> Allowance:
    return Allowance(plan.limit_bytes, plan.policy, plan.max_chips)
