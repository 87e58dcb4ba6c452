"""Where somebody is signed in, and what their second factor looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import func, select

from whago.domain.models import RecoveryCode, RefreshToken, TotpFactor
from whago.kit.db import reading

SHOWN: Final = 100  # of one user: nobody has as many devices


@dataclass(frozen=True, slots=True)
class SignInView:
    """One device. ``last_seen_at``: to a quarter of an hour; ``user_agent`` as the browser names itself."""

    id: UUID
    began_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None


@dataclass(frozen=True, slots=True)
class SecondFactorView:
    """``recovery_codes_left`` of those given last."""

    enabled_at: datetime | None
    recovery_codes_left: int


def sign_ins(user_id: UUID, *, now: datetime) -> Sequence[SignInView]:
    """Those that hold, the one seen last first."""
    query = (
        select(RefreshToken)
        .where(
            RefreshToken.user_id == user_id,
            RefreshToken.revoked_at.is_(None),
            RefreshToken.used_at.is_(None),
            RefreshToken.expires_at > now,
        )
        .order_by(func.coalesce(RefreshToken.last_seen_at, RefreshToken.created_at).desc(), RefreshToken.id)
        .limit(SHOWN)
    )
    with reading() as db:
        return [_view(token) for token in db.scalars(query)]


def second_factor(user_id: UUID) -> SecondFactorView:
    """What an account's settings tell of it."""
    living = (RecoveryCode.user_id == user_id) & RecoveryCode.used_at.is_(None)
    with reading() as db:
        enabled_at = db.scalar(select(TotpFactor.confirmed_at).where(TotpFactor.user_id == user_id))
        left = db.scalar(select(func.count()).where(living)) or 0
    return SecondFactorView(enabled_at, left)


def uses_of_factor(user_id: UUID) -> int | None:
    """How often the second factor that a sign-in has to pass was used; None without one."""
    confirmed = select(TotpFactor.uses).where(TotpFactor.user_id == user_id, TotpFactor.confirmed_at.is_not(None))
    with reading() as db:
        return db.scalar(confirmed)


def _view(token: RefreshToken) -> SignInView:
    return SignInView(
        id=token.family_id,
        began_at=token.began_at or token.created_at,
        last_seen_at=token.last_seen_at or token.created_at,
        expires_at=token.expires_at,
        address=token.address,
        user_agent=token.user_agent,
    )
