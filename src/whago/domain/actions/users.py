"""Users as administrators make, change and remove them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from whago.domain.models import ApiKey, Chip, Plan, User
from whago.domain.models.auditing import audit
from whago.domain.models.sign_ins import end_all, living_user
from whago.domain.models.unblocking import unblock_chips
from whago.errors import InvalidInput, WhagoError
from whago.kit.db import locked, signal, transaction
from whago.kit.ids import new_id

ADMINS = "admins"  # lock: two administrators must not demote each other at the same time


@dataclass(frozen=True, slots=True)
class UserFields:
    """A whole user. ``plan_id`` None is the default plan; ``password_hash`` None keeps what is stored."""

    name: str
    email: str
    role: str
    plan_id: UUID | None
    is_active: bool
    language: str | None
    password_hash: str | None = field(default=None, repr=False)


def create_user(actor_id: UUID | None, wanted: UserFields, *, now: datetime) -> UUID:
    """Raises WhagoError("email_taken"), InvalidInput for an unknown plan."""
    with transaction() as db:
        _check_plan(db, wanted.plan_id)
        user = User(
            id=new_id(),
            name=wanted.name,
            email=wanted.email,
            password_hash=wanted.password_hash or "!",  # nothing hashes to this: nobody signs in
            role=wanted.role,
            plan_id=wanted.plan_id,
            is_active=wanted.is_active,
            language=wanted.language,
            created_at=now,
        )
        _flush(db, user)
        audit(db, actor_id, "user.create", "user", user.id, now, email=user.email, role=user.role)
        return user.id


def update_user(actor_id: UUID, user_id: UUID, wanted: UserFields, *, now: datetime, tz: ZoneInfo) -> None:
    """Replaces everything but an omitted password. Suspending or a new password ends every sign-in at once.

    Raises WhagoError: not_found, email_taken, last_admin; InvalidInput.
    """
    with transaction() as db:
        locked(db, ADMINS)
        user = living_user(db, user_id)
        if user.is_admin and user.is_active and not (wanted.role == "admin" and wanted.is_active):
            _check_other_admin(db, user_id)
        if wanted.plan_id != user.plan_id:
            _check_plan(db, wanted.plan_id)
        changed = _take_over(user, wanted)
        _flush(db, user)
        if "password" in changed or ("is_active" in changed and not user.is_active):
            end_all(db, user, now)
        audit(db, actor_id, "user.update", "user", user_id, now, changed=changed, role=user.role)
        if "plan_id" in changed:
            unblock_chips(db, [user_id], now=now, tz=tz)
            signal(db, "quota", user_id)
        if {"plan_id", "is_active"} & set(changed):
            signal(db, "user", user_id)


def delete_user(actor_id: UUID, user_id: UUID, *, now: datetime) -> None:
    """Usage and bills stay. Raises WhagoError: not_found, user_in_use (chips are left), last_admin."""
    with transaction() as db:
        locked(db, ADMINS)
        user = living_user(db, user_id)
        if user.is_admin and user.is_active:
            _check_other_admin(db, user_id)
        chips = select(func.count()).where(Chip.user_id == user_id, Chip.deleted_at.is_(None))
        if count := db.scalar(chips) or 0:
            raise WhagoError("user_in_use", count=count)
        user.is_active, user.deleted_at = False, now
        end_all(db, user, now)
        db.execute(update(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None)).values(revoked_at=now))
        audit(db, actor_id, "user.delete", "user", user_id, now, email=user.email)
        signal(db, "user", user_id)


def _take_over(user: User, wanted: UserFields) -> list[str]:
    changed = [
        name
        for name in ("name", "email", "role", "plan_id", "is_active", "language")
        if getattr(user, name) != getattr(wanted, name)
    ]
    for name in changed:
        setattr(user, name, getattr(wanted, name))
    if wanted.password_hash is not None:
        user.password_hash = wanted.password_hash
        changed.append("password")
    return changed


def _check_other_admin(db: Session, user_id: UUID) -> None:
    others = select(func.count()).where(
        User.role == "admin", User.is_active, User.deleted_at.is_(None), User.id != user_id
    )
    if not db.scalar(others):
        raise WhagoError("last_admin")


def _check_plan(db: Session, plan_id: UUID | None) -> None:
    """Locked for share, so that the plan cannot be deleted before the user is written."""
    if plan_id is not None and db.scalar(select(Plan.id).where(Plan.id == plan_id).with_for_update(read=True)) is None:
        raise InvalidInput(plan_id="There is no plan with this identifier.")


def _flush(db: Session, user: User) -> None:
    try:
        with db.begin_nested():
            db.add(user)
    except IntegrityError as error:
        if "uq_users_email" not in str(error.orig):
            raise
        raise WhagoError("email_taken") from error
