"""A customer's month under its lock: the single place where bytes are committed and leased."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, cast
from uuid import UUID

from sqlalchemy import Table, func, select, tuple_
from sqlalchemy.orm import Session

from whago.domain.models.accounts import Plan, User
from whago.domain.models.usage import UserProxyCost
from whago.domain.rules.pricing import limit_bytes
from whago.domain.rules.thresholds import OnLimit
from whago.kit.rows import columns_of, insert_arrays

_NEW_MONTH: Final = ("user_id", "month_year", "last_updated")
_MAKE_MISSING: Final = insert_arrays(cast("Table", UserProxyCost.__table__), _NEW_MONTH).on_conflict_do_nothing()


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a plan allows a month. ``limit`` in bytes; None is unlimited.

    ``thresholds``: percents that the customer wants to be told of beside 80 and 100.
    """

    limit: int | None
    on_limit: OnLimit
    max_chips: int
    thresholds: Sequence[int] | None = None


def lock_months(
    db: Session, keys: Collection[tuple[UUID, date]], now: datetime
) -> dict[tuple[UUID, date], UserProxyCost]:
    """The rows of these (user, month) pairs, made when missing, locked in one order so that writers never deadlock."""
    if not keys:
        return {}
    ordered = sorted(keys)
    db.execute(_MAKE_MISSING, columns_of(_NEW_MONTH, [(*key, now) for key in ordered]))
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
    default = select(Plan.id).where(Plan.is_default).scalar_subquery()
    rows = db.execute(
        select(User.id, Plan.proxy_gb_limit, Plan.on_limit, Plan.max_chips, User.quota_thresholds)
        .join(Plan, Plan.id == func.coalesce(User.plan_id, default))
        .where(User.id.in_(user_ids))
    )
    return {
        user_id: Allowance(limit_bytes(limit_gb), OnLimit(on_limit), max_chips, thresholds)
        for user_id, limit_gb, on_limit, max_chips, thresholds in rows
    }
