"""Plans as everybody sees them, and as administrators count them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select

from whago.domain.models import Plan, User
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_amount, as_id, as_text, page_of
from whago.errors import WhagoError
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class PlanView:
    """``proxy_gb_limit`` in GB of 10⁹ bytes a month; None is unlimited. ``users``: everybody on it."""

    id: UUID
    name: str
    slug: str
    price: Decimal
    currency: str
    max_chips: int
    proxy_gb_limit: Decimal | None
    on_limit: str
    is_default: bool
    users: int
    created_at: datetime
    updated_at: datetime


USERS = (
    select(func.count())
    .select_from(User)
    .where(User.deleted_at.is_(None), or_(User.plan_id == Plan.id, and_(Plan.is_default, User.plan_id.is_(None))))
    .correlate(Plan)
    .scalar_subquery()
)
BY_PRICE = Order((Plan.price, Plan.slug, Plan.id), (as_amount, as_text, as_id))


def list_plans(*, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[PlanView]:
    """All plans, the cheapest first."""
    with reading() as db:
        return page_of(
            db,
            select(Plan, USERS),
            BY_PRICE,
            limit=limit,
            cursor=cursor,
            make=_view,
            key=lambda plan: (plan.price, plan.slug, plan.id),
        )


def get_plan(plan_id: UUID) -> PlanView:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        row = db.execute(select(Plan, USERS).where(Plan.id == plan_id)).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return _view(row)


def _view(row: Any) -> PlanView:
    plan, users = row
    return PlanView(
        id=plan.id,
        name=plan.name,
        slug=plan.slug,
        price=plan.price,
        currency=plan.currency,
        max_chips=plan.max_chips,
        proxy_gb_limit=plan.proxy_gb_limit,
        on_limit=plan.on_limit,
        is_default=plan.is_default,
        users=users,
        created_at=plan.created_at,
        updated_at=plan.updated_at,
    )
