"""Ending sign-ins inside a transaction: what a new password, a new factor and an administrator have in common."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from whago.domain.models.accounts import RefreshToken, User
from whago.errors import WhagoError


def living_user(db: Session, user_id: UUID) -> User:
    """The user's row, held until the transaction ends. Raises WhagoError("not_found")."""
    user = db.scalars(select(User).where(User.id == user_id, User.deleted_at.is_(None)).with_for_update()).one_or_none()
    if user is None:
        raise WhagoError("not_found")
    return user


def end_all(db: Session, user: User, now: datetime) -> None:
    """Every access and refresh token of the user dies at once."""
    user.token_generation += 1
    revoke(db, RefreshToken.user_id == user.id, now)


def end_others(db: Session, user_id: UUID, family_id: UUID, now: datetime) -> None:
    """The same but for one sign-in."""
    revoke(db, (RefreshToken.user_id == user_id) & (RefreshToken.family_id != family_id), now)


def revoke(db: Session, which: ColumnElement[bool], now: datetime) -> int:
    """Ends the tokens that still live; returns how many that were."""
    living = update(RefreshToken).where(which, RefreshToken.revoked_at.is_(None)).values(revoked_at=now)
    return len(db.execute(living.returning(RefreshToken.id)).all())
