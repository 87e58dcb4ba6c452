"""Accounts of the people themselves: registration, sign-ins, passwords. Hashes come in, passwords never do."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from whago.domain.models import RefreshToken, User
from whago.domain.models.auditing import audit
from whago.domain.models.second_factor import counting_factor, drop_factor, takes_code
from whago.domain.models.sign_ins import end_all, living_user, revoke
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import locked, transaction
from whago.kit.ids import new_id, new_token, token_hash

SIGN_IN_LASTS = timedelta(days=30)  # without use; every refresh begins it anew
SIGN_IN_LASTS_AT_MOST = timedelta(days=90)  # however often it is refreshed: then the password is asked for again
ADDRESS_MAX_CHARS = 45  # IPv6 with an IPv4 tail
USER_AGENT_MAX_CHARS = 300
ADMINS = "admins"  # lock: whoever makes or removes administrators does it alone


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in of a user: the refresh token in clear exists only here."""

    user_id: UUID
    family_id: UUID
    token_generation: int
    refresh_token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from, for its owner to recognise."""

    address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True)
class SecondFactor:
    """A code of the app or a recovery code. ``uses``: how often the factor had been used when the password was right;
    None when password and code come together."""

    code: str = field(repr=False)
    vault: Vault
    uses: int | None = None


NOWHERE = Origin()


def register(*, name: str, email: str, password_hash: str, language: str | None, now: datetime) -> UUID:
    """A new customer on the default plan. Raises WhagoError("email_taken")."""
    with transaction() as db:
        return _insert_user(db, name=name, email=email, password_hash=password_hash, language=language, now=now).id


def begin_sign_in(
    user_id: UUID,
    *,
    now: datetime,
    new_hash: str | None = None,
    second: SecondFactor | None = None,
    origin: Origin = NOWHERE,
) -> SignIn:
    """After the password was right; ``new_hash`` replaces an outdated one.

    Raises WhagoError: account_suspended, totp_required, bad_totp, challenge_expired.
    """
    with transaction() as db:
        user = living_user(db, user_id)
        if not user.is_active:
            raise WhagoError("account_suspended")
        _check_second_factor(db, user_id, second, now)
        user.last_login_at = now
        if new_hash is not None:
            user.password_hash = new_hash
        db.execute(delete(RefreshToken).where(RefreshToken.user_id == user_id, RefreshToken.expires_at < now))
        return _issue(db, user, new_id(), now, origin)


def refresh_sign_in(refresh_token: str, *, now: datetime, origin: Origin = NOWHERE) -> SignIn:
    """Replaces a refresh token. One that was already replaced ends its whole family, since it was stolen from somebody.

    Raises WhagoError: not_authenticated, account_suspended.
    """
    with transaction() as db:
        fresh = _refresh(db, refresh_token, now, origin)
    if fresh is None:  # raised outside, so that the family's end is committed
        raise WhagoError("not_authenticated")
    return fresh


def end_sign_in(refresh_token: str, *, now: datetime) -> None:
    """Ends the family of a refresh token; an unknown one changes nothing."""
    with transaction() as db:
        family = db.scalar(select(RefreshToken.family_id).where(RefreshToken.token_hash == token_hash(refresh_token)))
        if family is not None:
            revoke(db, RefreshToken.family_id == family, now)


def end_family(family_id: UUID, *, now: datetime) -> None:
    """Ends the sign-in that asks for it: its access and refresh tokens die at once."""
    with transaction() as db:
        revoke(db, RefreshToken.family_id == family_id, now)


def end_one_sign_in(user_id: UUID, family_id: UUID, *, now: datetime) -> None:
    """Ends another sign-in of the user. Raises WhagoError("not_found"), also for somebody else's."""
    with transaction() as db:
        if not revoke(db, (RefreshToken.user_id == user_id) & (RefreshToken.family_id == family_id), now):
            raise WhagoError("not_found")
        audit(db, user_id, "sign_in.end", "user", user_id, now)


def end_all_sign_ins(actor_id: UUID, user_id: UUID, *, now: datetime) -> None:
    """Every access and refresh token of the user dies at once. Raises WhagoError("not_found")."""
    with transaction() as db:
        end_all(db, living_user(db, user_id), now)
        audit(db, actor_id, "sign_in.end_all", "user", user_id, now)


def see_sign_in(refresh_token: str, *, now: datetime, origin: Origin) -> None:
    """Notes that a browser is still there: called when its access token is renewed, once in its life."""
    with transaction() as db:
        seen = {"last_seen_at": now, **_told(origin)}
        db.execute(update(RefreshToken).where(RefreshToken.token_hash == token_hash(refresh_token)).values(seen))


def change_password(user_id: UUID, password_hash: str, *, now: datetime, origin: Origin = NOWHERE) -> SignIn:
    """Sets a new password; every other sign-in ends, and the caller gets a new one."""
    with transaction() as db:
        user = living_user(db, user_id)
        user.password_hash = password_hash
        end_all(db, user, now)
        audit(db, user_id, "user.password", "user", user_id, now)
        return _issue(db, user, new_id(), now, origin)


def update_profile(user_id: UUID, *, name: str, language: str | None, time_zone: str | None) -> None:
    """What people change about themselves. None for language or zone: as the browser says."""
    with transaction() as db:
        user = living_user(db, user_id)
        user.name, user.language, user.time_zone = name, language, time_zone


def make_admin(*, email: str, password_hash: str, name: str, replace: bool, now: datetime) -> bool:
    """An active administrator with this e-mail; returns whether anything was made or changed.

    An account that exists becomes an administrator and gets the password when ``replace``, else it is left as it is.
    Its authenticator app is forgotten then: whoever has the machine's command line is the last way back in.
    """
    with transaction() as db:
        locked(db, ADMINS)
        user = db.scalars(select(User).where(User.email == email, User.deleted_at.is_(None)).with_for_update()).first()
        if user is not None and not replace:
            return False
        if user is None:
            user = _insert_user(db, name=name, email=email, password_hash=password_hash, language=None, now=now)
        user.role, user.is_active, user.password_hash = "admin", True, password_hash
        drop_factor(db, user.id)
        end_all(db, user, now)
        audit(db, None, "user.make_admin", "user", user.id, now, email=email)
        return True


def has_admin() -> bool:
    """Whether anybody can administer."""
    with transaction() as db:
        found = select(User.id).where(User.role == "admin", User.is_active, User.deleted_at.is_(None)).limit(1)
        return db.scalar(found) is not None


def _check_second_factor(db: Session, user_id: UUID, second: SecondFactor | None, now: datetime) -> None:
    factor = counting_factor(db, user_id)
    if factor is None:
        return
    if second is None:
        raise WhagoError("totp_required")
    if second.uses is not None and second.uses != factor.uses:
        raise WhagoError("challenge_expired")  # it has led to a sign-in already
    if not takes_code(db, factor, second.code, vault=second.vault, now=now):
        raise WhagoError("bad_totp")


def _refresh(db: Session, refresh_token: str, now: datetime, origin: Origin) -> SignIn | None:
    token = db.scalars(
        select(RefreshToken).where(RefreshToken.token_hash == token_hash(refresh_token)).with_for_update()
    ).one_or_none()
    if token is None or token.revoked_at is not None or token.expires_at <= now:
        return None
    if token.used_at is not None:
        revoke(db, RefreshToken.family_id == token.family_id, now)
        audit(db, token.user_id, "sign_in.token_reused", "user", token.user_id, now)
        return None
    user = db.scalars(select(User).where(User.id == token.user_id, User.deleted_at.is_(None))).one_or_none()
    if user is None:
        return None
    if not user.is_active:
        raise WhagoError("account_suspended")
    token.used_at = now
    return _issue(db, user, token.family_id, now, origin, began_at=token.began_at or token.created_at)


def _issue(
    db: Session, user: User, family_id: UUID, now: datetime, origin: Origin, *, began_at: datetime | None = None
) -> SignIn:
    secret, began_at = new_token(), began_at or now
    expires_at = min(now + SIGN_IN_LASTS, began_at + SIGN_IN_LASTS_AT_MOST)
    db.add(
        RefreshToken(
            id=new_id(),
            user_id=user.id,
            family_id=family_id,
            token_hash=token_hash(secret),
            created_at=now,
            expires_at=expires_at,
            began_at=began_at,
            last_seen_at=now,
            **_told(origin),
        )
    )
    return SignIn(user.id, family_id, user.token_generation, secret, expires_at)


def _told(origin: Origin) -> dict[str, str | None]:
    """What fits into the columns."""
    address, agent = origin.address, origin.user_agent
    return {
        "address": address[:ADDRESS_MAX_CHARS] if address else None,
        "user_agent": agent[:USER_AGENT_MAX_CHARS] if agent else None,
    }


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
