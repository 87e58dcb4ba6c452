"""Plans: made, changed and removed by administrators. A change reaches every gateway at once."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from whago.domain.models import Plan, User
from whago.domain.models.auditing import audit
from whago.domain.models.unblocking import unblock_chips
from whago.errors import InvalidInput, WhagoError
from whago.kit.db import locked, signal, transaction
from whago.kit.ids import new_id

DEFAULT_PLAN = "default-plan"  # lock: exactly one plan is the default


@dataclass(frozen=True, slots=True)
class PlanFields:
    """A whole plan. ``price`` in BRL a month; ``proxy_gb_limit`` in GB of 10⁹ bytes, None is unlimited."""

    name: str
    slug: str
    price: Decimal
    max_chips: int
    proxy_gb_limit: Decimal | None
    on_limit: str
    is_default: bool = False


def create_plan(actor_id: UUID | None, wanted: PlanFields, *, now: datetime) -> UUID:
    """Raises WhagoError("slug_taken")."""
    with transaction() as db:
        locked(db, DEFAULT_PLAN)
        if wanted.is_default:
            _no_default(db)
        plan = Plan(id=new_id(), created_at=now, updated_at=now, **_columns(wanted))
        _flush(db, plan)
        audit(db, actor_id, "plan.create", "plan", plan.id, now, **_told(wanted))
        if wanted.is_default:
            signal(db, "quota")
        return plan.id


def update_plan(actor_id: UUID | None, plan_id: UUID, wanted: PlanFields, *, now: datetime, tz: ZoneInfo) -> None:
    """Replaces everything; the default plan stays the default until another one becomes it.

    Raises WhagoError: not_found, slug_taken; InvalidInput.
    """
    with transaction() as db:
        locked(db, DEFAULT_PLAN)
        plan = _locked(db, plan_id)
        if plan.is_default and not wanted.is_default:
            raise InvalidInput(is_default="Make another plan the default instead.")
        if wanted.is_default and not plan.is_default:
            _no_default(db)
        changed = [name for name, value in _columns(wanted).items() if getattr(plan, name) != value]
        for name in changed:
            setattr(plan, name, getattr(wanted, name))
        plan.updated_at = now
        _flush(db, plan)
        audit(db, actor_id, "plan.update", "plan", plan_id, now, changed=changed, **_told(wanted))
        unblock_chips(db, _users_of(db, plan), now=now, tz=tz)
        signal(db, "quota")


def delete_plan(actor_id: UUID | None, plan_id: UUID, *, now: datetime) -> None:
    """Raises WhagoError: not_found, plan_is_default, plan_in_use."""
    with transaction() as db:
        locked(db, DEFAULT_PLAN)
        plan = _locked(db, plan_id)
        if plan.is_default:
            raise WhagoError("plan_is_default")
        living = select(func.count()).where(User.plan_id == plan_id, User.deleted_at.is_(None))
        if count := db.scalar(living) or 0:
            raise WhagoError("plan_in_use", count=count)
        db.execute(update(User).where(User.plan_id == plan_id).values(plan_id=None))  # of users that are gone
        db.delete(plan)
        audit(db, actor_id, "plan.delete", "plan", plan_id, now, slug=plan.slug)


def _locked(db: Session, plan_id: UUID) -> Plan:
    plan = db.scalars(select(Plan).where(Plan.id == plan_id).with_for_update()).one_or_none()
    if plan is None:
        raise WhagoError("not_found")
    return plan


def _users_of(db: Session, plan: Plan) -> list[UUID]:
    belongs = or_(User.plan_id == plan.id, User.plan_id.is_(None)) if plan.is_default else User.plan_id == plan.id
    return list(db.scalars(select(User.id).where(belongs, User.deleted_at.is_(None))))


def _no_default(db: Session) -> None:
    db.execute(update(Plan).where(Plan.is_default).values(is_default=False))


def _flush(db: Session, plan: Plan) -> None:
    try:
        with db.begin_nested():
            db.add(plan)
    except IntegrityError as error:
        if "uq_plans_slug" not in str(error.orig):
            raise
        raise WhagoError("slug_taken") from error


def _columns(wanted: PlanFields) -> dict[str, Any]:
    return {field.name: getattr(wanted, field.name) for field in fields(wanted)}


def _told(wanted: PlanFields) -> dict[str, Any]:
    limit = wanted.proxy_gb_limit
    return {
        "slug": wanted.slug,
        "max_chips": wanted.max_chips,
        "proxy_gb_limit": str(limit) if limit is not None else None,
        "on_limit": wanted.on_limit,
    }
