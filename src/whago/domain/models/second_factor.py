"""The second factor inside a transaction: a code of the authenticator app, or a recovery code, is taken once.

Whoever calls holds the user's row, so that of two uses of one code the second finds the first.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from whago.domain.models.accounts import RecoveryCode, TotpFactor
from whago.domain.models.auditing import audit
from whago.domain.rules.totp import accepted_step, typed
from whago.kit.crypto import Vault
from whago.kit.ids import new_id, new_recovery_code, token_hash

RECOVERY_CODES: Final = 10  # for as many lost phones; what every service gives


def counting_factor(db: Session, user_id: UUID) -> TotpFactor | None:
    """The factor that a sign-in has to pass, locked; None without one."""
    confirmed = select(TotpFactor).where(TotpFactor.user_id == user_id, TotpFactor.confirmed_at.is_not(None))
    return db.scalars(confirmed.with_for_update()).one_or_none()


def takes_code(db: Session, factor: TotpFactor, code: str, *, vault: Vault, now: datetime) -> bool:
    """Whether the code was good; it is then used up."""
    if not (takes_step(factor, code, vault=vault, now=now) or _takes_recovery_code(db, factor.user_id, code, now)):
        return False
    factor.uses += 1
    return True


def takes_step(factor: TotpFactor, code: str, *, vault: Vault, now: datetime) -> bool:
    """The same for codes of the app alone."""
    secret = vault.open(factor.sealed_secret)["secret"]
    step = accepted_step(secret, typed(code), now=now, last_step=factor.last_step)
    if step is None:
        return False
    factor.last_step = step
    return True


def give_recovery_codes(db: Session, user_id: UUID, now: datetime) -> list[str]:
    """Fresh ones, in clear only here; those before are gone."""
    db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    codes = [new_recovery_code() for _ in range(RECOVERY_CODES)]
    for code in codes:
        db.add(RecoveryCode(id=new_id(), user_id=user_id, code_hash=token_hash(typed(code)), created_at=now))
    return codes


def drop_factor(db: Session, user_id: UUID) -> bool:
    """Forgets app and recovery codes; returns whether a confirmed app was among them."""
    was = db.scalar(delete(TotpFactor).where(TotpFactor.user_id == user_id).returning(TotpFactor.confirmed_at))
    db.execute(delete(RecoveryCode).where(RecoveryCode.user_id == user_id))
    return was is not None


def _takes_recovery_code(db: Session, user_id: UUID, code: str, now: datetime) -> bool:
    """One statement, so that even without the user's lock it is used once."""
    living = (RecoveryCode.user_id == user_id) & RecoveryCode.used_at.is_(None)
    used = db.scalar(
        update(RecoveryCode)
        .where(living, RecoveryCode.code_hash == token_hash(typed(code)))
        .values(used_at=now)
        .returning(RecoveryCode.id)
    )
    if used is not None:
        audit(db, user_id, "totp.recovery_used", "user", user_id, now)
    return used is not None
