"""A customer's month under its lock: the single place where bytes are committed and leased."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

from sqlalchemy import Date, Table, Uuid, and_, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from whago.domain.models.accounts import Plan, User
from whago.domain.models.ledger import MovedMonth
from whago.domain.models.usage import CustomerMonth, UserProxyCost
from whago.domain.rules.pricing import limit_bytes
from whago.domain.rules.thresholds import OnLimit
from whago.kit.rows import array_literal, array_parameter, columns_of, insert_arrays

NOTHING: Final = Decimal(0)

_NEW_MONTH: Final = ("user_id", "month_year", "last_updated")
_MAKE_MISSING: Final = insert_arrays(cast("Table", UserProxyCost.__table__), _NEW_MONTH).on_conflict_do_nothing()
_KEYS: Final = (
    func.unnest(array_parameter("users", Uuid()), array_parameter("months", Date()))
    .table_valued("user_id", "month_year")
    .render_derived()
)
_LOCK: Final = (
    select(UserProxyCost)
    .join(_KEYS, and_(_KEYS.c.user_id == UserProxyCost.user_id, _KEYS.c.month_year == UserProxyCost.month_year))
    .order_by(UserProxyCost.user_id, UserProxyCost.month_year)
    .with_for_update(of=UserProxyCost)
    .execution_options(populate_existing=True)
)

# A lease of which more was used than granted holds nothing.
_FIGURES: Final = ("total_bytes", "total_cost", "leased_bytes", "last_updated")
_SETTLE: Final = text(
    """
    WITH told AS (
        SELECT * FROM unnest(CAST(:users AS uuid[]), CAST(:months AS date[]), CAST(:bytes AS bigint[]),
                             CAST(:costs AS numeric[]), CAST(:released AS boolean[]))
            AS row (user_id, month_year, bytes, cost, is_released)
    ), lease AS (
        UPDATE quota_leases l
           SET used_bytes = old.used_bytes + told.bytes,
               granted_bytes = CASE WHEN is_released THEN old.used_bytes + told.bytes ELSE old.granted_bytes END,
               state = CASE WHEN is_released THEN 'released' ELSE old.state END
          FROM told JOIN quota_leases old USING (user_id, month_year)
         WHERE old.boot_id = :boot_id
           AND (l.boot_id, l.user_id, l.month_year) = (old.boot_id, old.user_id, old.month_year)
        RETURNING l.user_id, l.month_year,
                  greatest(0, l.granted_bytes - l.used_bytes) - greatest(0, old.granted_bytes - old.used_bytes) AS grown
    )
    UPDATE user_proxy_costs m
       SET total_bytes = m.total_bytes + told.bytes, total_cost = m.total_cost + told.cost,
           leased_bytes = m.leased_bytes + coalesce(lease.grown, 0),
           last_updated = CASE WHEN told.bytes <> 0 THEN :now ELSE m.last_updated END
      FROM told LEFT JOIN lease USING (user_id, month_year)
     WHERE (m.user_id, m.month_year) = (told.user_id, told.month_year)
    RETURNING m.user_id, m.month_year, m.total_bytes, m.total_cost, m.leased_bytes, m.last_updated
    """
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a plan allows a month. ``limit`` in bytes; None is unlimited.

    ``thresholds``: percents that the customer wants to be told of beside 80 and 100.
    """

    limit: int | None
    on_limit: OnLimit
    max_chips: int
    thresholds: Sequence[int] | None = None


def lock_months(db: Session, keys: Collection[CustomerMonth], now: datetime) -> dict[CustomerMonth, UserProxyCost]:
    """The rows of these (user, month) pairs, made when missing, locked in one order so that writers never deadlock."""
    if not keys:
        return {}
    ordered = sorted(keys)
    db.execute(_MAKE_MISSING, columns_of(_NEW_MONTH, [(*key, now) for key in ordered]))
    found = db.scalars(_LOCK, {"users": array_literal([user for user, _ in ordered]), "months": _months(ordered)})
    return {(row.user_id, row.month_year): row for row in found}


def settle_months(
    db: Session,
    boot_id: UUID,
    rows: Mapping[CustomerMonth, UserProxyCost],
    moved: Sequence[MovedMonth],
    released: Collection[CustomerMonth],
    now: datetime,
) -> None:
    """Adds what a report moved to its months and to the boot's leases, and gives the ``released`` leases back.

    ``rows`` are locked, and have the new figures afterwards.
    """
    added = {one.key: one for one in moved}
    keys = sorted(added.keys() | released)
    if not keys:
        return
    told = {
        "users": array_literal([user for user, _ in keys]),
        "months": _months(keys),
        "bytes": array_literal([added[key].added_bytes if key in added else 0 for key in keys]),
        "costs": array_literal([added[key].added_cost if key in added else NOTHING for key in keys]),
        "released": array_literal([key in released for key in keys]),
    }
    for user_id, month, *figures in db.execute(_SETTLE, {**told, "boot_id": boot_id, "now": now}):
        for name, figure in zip(_FIGURES, figures, strict=True):
            set_committed_value(rows[user_id, month], name, figure)


def _months(keys: Sequence[CustomerMonth]) -> str:
    return array_literal([month for _, month in keys])


def allowances(db: Session, user_ids: Collection[UUID]) -> dict[UUID, Allowance]:
    """Each user's plan as it is now; a user without a plan has the default plan."""
    default = select(Plan.id).where(Plan.is_default).scalar_subquery()
    rows = db.execute(
        select(User.id, Plan.proxy_gb_limit, Plan.on_limit, Plan.max_chips, User.quota_thresholds)
        .join(Plan, Plan.id == func.coalesce(User.plan_id, default))
        .where(User.id == func.any(array_parameter("users", Uuid()))),
        {"users": array_literal(list(user_ids))},
    )
    return {
        user_id: Allowance(limit_bytes(limit_gb), OnLimit(on_limit), max_chips, thresholds)
        for user_id, limit_gb, on_limit, max_chips, thresholds in rows
    }
