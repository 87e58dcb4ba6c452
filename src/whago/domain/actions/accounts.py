"""Accounts of the people themselves: registration, sign-ins, passwords. Hashes come in, passwords never do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from whago.domain.models import RefreshToken, User
from whago.domain.models.auditing import audit
from whago.errors import WhagoError
from whago.kit.db import locked, transaction
from whago.kit.ids import new_id, new_token, token_hash

SIGN_IN_LASTS = timedelta(days=30)  # without use; every refresh begins it anew
ADMINS = "admins"  # lock: whoever makes or removes administrators does it alone


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in of a user: the refresh token in clear exists only here."""

    user_id: UUID
    family_id: UUID
    token_generation: int
    refresh_token: str = field(repr=False)
    expires_at: datetime


def register(*, name: str, email: str, password_hash: str, language: str | None, now: datetime) -> UUID:
    """A new customer on the default plan. Raises WhagoError("email_taken")."""
    with transaction() as db:
        return _insert_user(db, name=name, email=email, password_hash=password_hash, language=language, now=now).id


def begin_sign_in(user_id: UUID, *, now: datetime, new_hash: str | None = None) -> SignIn:
    """After the password was right; ``new_hash`` replaces an outdated one. Raises WhagoError: account_suspended."""
    with transaction() as db:
        user = _living(db, user_id)
        if not user.is_active:
            raise WhagoError("account_suspended")
        user.last_login_at = now
        if new_hash is not None:
            user.password_hash = new_hash
        db.execute(delete(RefreshToken).where(RefreshToken.user_id == user_id, RefreshToken.expires_at < now))
        return _issue(db, user, new_id(), now)


def refresh_sign_in(refresh_token: str, *, now: datetime) -> SignIn:
    """Replaces a refresh token. One that was already replaced ends its whole family, since it was stolen from somebody.

    Raises WhagoError: not_authenticated, account_suspended.
    """
    with transaction() as db:
        fresh = _refresh(db, refresh_token, now)
    if fresh is None:  # raised outside, so that the family's end is committed
        raise WhagoError("not_authenticated")
    return fresh


def end_sign_in(refresh_token: str, *, now: datetime) -> None:
    """Ends the family of a refresh token; an unknown one changes nothing."""
    with transaction() as db:
        family = db.scalar(select(RefreshToken.family_id).where(RefreshToken.token_hash == token_hash(refresh_token)))
        if family is not None:
            _revoke(db, RefreshToken.family_id == family, now)


def end_family(family_id: UUID, *, now: datetime) -> None:
    """Ends one sign-in: its access and refresh tokens die at once."""
    with transaction() as db:
        _revoke(db, RefreshToken.family_id == family_id, now)


def end_all_sign_ins(user_id: UUID, *, now: datetime) -> None:
    """Every access and refresh token of the user dies at once."""
    with transaction() as db:
        _end_all(db, _living(db, user_id), now)


def change_password(user_id: UUID, password_hash: str, *, now: datetime) -> SignIn:
    """Sets a new password; every other sign-in ends, and the caller gets a new one."""
    with transaction() as db:
        user = _living(db, user_id)
        user.password_hash = password_hash
        _end_all(db, user, now)
        audit(db, user_id, "user.password", "user", user_id, now)
        return _issue(db, user, new_id(), now)


def update_profile(user_id: UUID, *, name: str, language: str | None, time_zone: str | None) -> None:
    """What people change about themselves. None for language or zone: as the browser says."""
    with transaction() as db:
        user = _living(db, user_id)
        user.name, user.language, user.time_zone = name, language, time_zone


def make_admin(*, email: str, password_hash: str, name: str, replace: bool, now: datetime) -> bool:
    """An active administrator with this e-mail; returns whether anything was made or changed.

    An account that exists becomes an administrator and gets the password when ``replace``, else it is left as it is.
    """
    with transaction() as db:
        locked(db, ADMINS)
        user = db.scalars(select(User).where(User.email == email, User.deleted_at.is_(None)).with_for_update()).first()
        if user is not None and not replace:
            return False
        if user is None:
            user = _insert_user(db, name=name, email=email, password_hash=password_hash, language=None, now=now)
        user.role, user.is_active, user.password_hash = "admin", True, password_hash
        _end_all(db, user, now)
        audit(db, None, "user.make_admin", "user", user.id, now, email=email)
        return True


def has_admin() -> bool:
    """Whether anybody can administer."""
    with transaction() as db:
        found = select(User.id).where(User.role == "admin", User.is_active, User.deleted_at.is_(None)).limit(1)
        return db.scalar(found) is not None


def _refresh(db: Session, refresh_token: str, now: datetime) -> SignIn | None:
    token = db.scalars(
        select(RefreshToken).where(RefreshToken.token_hash == token_hash(refresh_token)).with_for_update()
    ).one_or_none()
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return None
    if token.used_at is not None:
        _revoke(db, RefreshToken.family_id == token.family_id, now)
        return None
    user = db.scalars(select(User).where(User.id == token.user_id, User.deleted_at.is_(None))).one_or_none()
    if user is None:
        return None
    if not user.is_active:
        raise WhagoError("account_suspended")
    token.used_at = now
    return _issue(db, user, token.family_id, now)


def _issue(db: Session, user: User, family_id: UUID, now: datetime) -> SignIn:
    secret, expires_at = new_token(), now + SIGN_IN_LASTS
    db.add(
        RefreshToken(
            id=new_id(),
            user_id=user.id,
            family_id=family_id,
            token_hash=token_hash(secret),
            created_at=now,
            expires_at=expires_at,
        )
    )
    return SignIn(user.id, family_id, user.token_generation, secret, expires_at)


def _end_all(db: Session, user: User, now: datetime) -> None:
    user.token_generation += 1
    _revoke(db, RefreshToken.user_id == user.id, now)


def _revoke(db: Session, which: ColumnElement[bool], now: datetime) -> None:
    db.execute(update(RefreshToken).where(which, RefreshToken.revoked_at.is_(None)).values(revoked_at=now))


def _living(db: Session, user_id: UUID) -> User:
    user = db.scalars(select(User).where(User.id == user_id, User.deleted_at.is_(None)).with_for_update()).one_or_none()
    if user is None:
        raise WhagoError("not_found")
    return user


def _insert_user(
    db: Session, *, name: str, email: str, password_hash: str, language: str | None, now: datetime
) -> User:
    user = User(id=new_id(), name=name, email=email, password_hash=password_hash, language=language, created_at=now)
    user.token_generation = 0
    try:
        with db.begin_nested():
            db.add(user)
    except IntegrityError as error:
        raise WhagoError("email_taken") from error
    return user
