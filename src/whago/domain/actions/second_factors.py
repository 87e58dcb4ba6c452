"""An account's authenticator app: set up, proven, taken away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models import TotpFactor
from whago.domain.models.auditing import audit
from whago.domain.models.second_factor import (
    counting_factor,
    drop_factor,
    give_recovery_codes,
    takes_code,
    takes_step,
)
from whago.domain.models.sign_ins import end_all, end_others, living_user
from whago.errors import InvalidInput, WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_totp_secret

SETUP_LASTS: Final = timedelta(hours=1)  # a secret that was shown and never proven must not wait for ever
WRONG_CODE: Final = "This code is not right, or it was used before. Wait for the next one."


def begin_totp(user_id: UUID, *, vault: Vault, now: datetime) -> str:
    """A fresh secret in base32, which does not count before ``confirm_totp``. Raises WhagoError("totp_on")."""
    secret = new_totp_secret()
    with transaction() as db:
        living_user(db, user_id)
        if counting_factor(db, user_id) is not None:
            raise WhagoError("totp_on")
        drop_factor(db, user_id)
        db.add(TotpFactor(user_id=user_id, sealed_secret=vault.seal({"secret": secret}), created_at=now))
    return secret


def confirm_totp(user_id: UUID, code: str, *, vault: Vault, family_id: UUID, now: datetime) -> list[str]:
    """From now on every sign-in needs a code. Every other sign-in than ``family_id`` ends. Returns the recovery codes.

    Raises WhagoError: totp_on, totp_off (there is nothing to confirm any more); InvalidInput.
    """
    with transaction() as db:
        living_user(db, user_id)
        factor = _unconfirmed(db, user_id, now)
        if not takes_step(factor, code, vault=vault, now=now):
            raise InvalidInput(totp=WRONG_CODE)
        factor.confirmed_at = now
        end_others(db, user_id, family_id, now)
        audit(db, user_id, "totp.enable", "user", user_id, now)
        return give_recovery_codes(db, user_id, now)


def disable_totp(user_id: UUID, code: str, *, vault: Vault, family_id: UUID, now: datetime) -> None:
    """After the password was right. Every other sign-in ends. Raises WhagoError("totp_off"), InvalidInput."""
    with transaction() as db:
        _take(db, user_id, code, vault, now)
        drop_factor(db, user_id)
        end_others(db, user_id, family_id, now)
        audit(db, user_id, "totp.disable", "user", user_id, now)


def renew_recovery_codes(user_id: UUID, code: str, *, vault: Vault, now: datetime) -> list[str]:
    """New ones; those before are worth nothing. Raises WhagoError("totp_off"), InvalidInput."""
    with transaction() as db:
        _take(db, user_id, code, vault, now)
        audit(db, user_id, "totp.recovery_codes", "user", user_id, now)
        return give_recovery_codes(db, user_id, now)


def reset_totp(actor_id: UUID, user_id: UUID, *, now: datetime) -> None:
    """By a colleague, for who lost phone and recovery codes. Every sign-in of the user ends.

    Raises WhagoError: not_found, own_account, totp_off.
    """
    if actor_id == user_id:
        raise WhagoError("own_account")
    with transaction() as db:
        user = living_user(db, user_id)
        if not drop_factor(db, user_id):
            raise WhagoError("totp_off")
        end_all(db, user, now)
        audit(db, actor_id, "totp.reset", "user", user_id, now, email=user.email)


def _unconfirmed(db: Session, user_id: UUID, now: datetime) -> TotpFactor:
    factor = db.scalars(select(TotpFactor).where(TotpFactor.user_id == user_id).with_for_update()).one_or_none()
    if factor is not None and factor.confirmed_at is not None:
        raise WhagoError("totp_on")
    if factor is None or factor.created_at + SETUP_LASTS <= now:
        raise WhagoError("totp_off")
    return factor


def _take(db: Session, user_id: UUID, code: str, vault: Vault, now: datetime) -> None:
    living_user(db, user_id)
    factor = counting_factor(db, user_id)
    if factor is None:
        raise WhagoError("totp_off")
    if not takes_code(db, factor, code, vault=vault, now=now):
        raise InvalidInput(totp=WRONG_CODE)
