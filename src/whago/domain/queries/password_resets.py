"""Whether a link to a new password still holds."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select

from whago.domain.models import PasswordReset
from whago.kit.db import reading
from whago.kit.ids import token_hash


def reset_holds(token: str, *, now: datetime) -> bool:
    """False for a link that is unknown, was used, or is too old."""
    query = select(PasswordReset.id).where(
        PasswordReset.token_hash == token_hash(token), PasswordReset.used_at.is_(None), PasswordReset.expires_at > now
    )
    with reading() as db:
        return db.scalar(query) is not None
