"""A new password by e-mail: asked for by anybody, written by the worker, used once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from whago.domain.models import PasswordReset, User
from whago.domain.models.auditing import audit
from whago.domain.models.sign_ins import end_all
from whago.errors import WhagoError
from whago.kit.db import transaction
from whago.kit.ids import new_id, new_token, token_hash

LINK_LASTS: Final = timedelta(hours=1)  # long enough for a slow mail server, short in a mailbox that others read later
KEPT: Final = timedelta(days=1)  # after that a request is nobody's business any more
CLAIM_LASTS: Final = timedelta(minutes=2)  # far longer than a mail server may take for one letter
RETRY_AFTER: Final = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=15))
LETTERS_AT_ONCE: Final = 16  # of one round


@dataclass(frozen=True, slots=True)
class ResetLetter:
    """A letter to write. The token in clear exists only here and in the letter."""

    id: UUID
    to: str
    name: str
    language: str | None
    at: datetime
    token: str = field(repr=False)


def ask_for_reset(email: str, *, language: str | None, now: datetime) -> None:
    """Takes the wish down, whether there is such an account or not. ``email`` is in its stored form."""
    with transaction() as db:
        db.add(PasswordReset(id=new_id(), email=email, language=language, requested_at=now, due_at=now))


def claim_reset_letters(*, now: datetime, limit: int = LETTERS_AT_ONCE) -> Sequence[ResetLetter]:
    """The letters that are due, each with a fresh token. Wishes for addresses without an account are forgotten.

    A letter that is not reported within ``CLAIM_LASTS`` is written again, with another token.
    """
    with transaction() as db:
        db.execute(delete(PasswordReset).where(PasswordReset.requested_at < now - KEPT))
        due = db.scalars(
            select(PasswordReset)
            .where(PasswordReset.sent_at.is_(None), PasswordReset.due_at <= now)
            .order_by(PasswordReset.due_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        users = _active_users(db, {wish.email for wish in due})
        letters = []
        for wish in due:
            user = users.get(wish.email)
            if user is None:
                db.delete(wish)
            else:
                letters.append(_claim(wish, user, now))
        return letters


def finish_reset_letter(reset_id: UUID, *, sent: bool, again: bool, now: datetime) -> None:
    """What came of a letter. One that cannot arrive is given up."""
    with transaction() as db:
        wish = db.scalars(select(PasswordReset).where(PasswordReset.id == reset_id).with_for_update()).one_or_none()
        if wish is None or wish.sent_at is not None:
            return
        if sent:
            wish.sent_at = now
        elif again and wish.attempts <= len(RETRY_AFTER):
            wish.due_at = now + RETRY_AFTER[wish.attempts - 1]
        else:
            db.delete(wish)


def redeem_reset(token: str, password_hash: str, *, now: datetime) -> UUID:
    """Sets the password once; every sign-in and every other link of the user ends. Returns the user's id.

    Raises WhagoError("link_expired").
    """
    with transaction() as db:
        user_id = db.scalar(
            update(PasswordReset)
            .where(
                PasswordReset.token_hash == token_hash(token),
                PasswordReset.used_at.is_(None),
                PasswordReset.expires_at > now,
            )
            .values(used_at=now)
            .returning(PasswordReset.user_id)
        )
        user = _lock_active(db, user_id) if user_id is not None else None
        if user is None:
            raise WhagoError("link_expired")
        user.password_hash = password_hash
        end_all(db, user, now)
        db.execute(
            update(PasswordReset)
            .where(PasswordReset.user_id == user.id, PasswordReset.used_at.is_(None))
            .values(used_at=now)
        )
        audit(db, user.id, "user.password_reset", "user", user.id, now)
        return user.id


def _active_users(db: Session, emails: set[str]) -> dict[str, User]:
    query = select(User).where(User.email.in_(emails), User.is_active, User.deleted_at.is_(None))
    return {user.email: user for user in db.scalars(query)}


def _claim(wish: PasswordReset, user: User, now: datetime) -> ResetLetter:
    token = new_token()
    wish.user_id, wish.token_hash, wish.expires_at = user.id, token_hash(token), now + LINK_LASTS
    wish.attempts += 1
    wish.due_at = now + CLAIM_LASTS
    return ResetLetter(wish.id, user.email, user.name, user.language or wish.language, wish.requested_at, token)


def _lock_active(db: Session, user_id: UUID) -> User | None:
    living = select(User).where(User.id == user_id, User.is_active, User.deleted_at.is_(None))
    return db.scalars(living.with_for_update()).one_or_none()
