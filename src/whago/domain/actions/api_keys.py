"""API keys: made (shown once), used, revoked."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import func, or_, select, update

from whago.domain.models import ApiKey, User
from whago.domain.models.auditing import audit
from whago.domain.rules.scopes import EVERY_SCOPE, Scope
from whago.errors import InvalidInput, WhagoError
from whago.kit.db import transaction
from whago.kit.ids import new_id, new_token, token_hash

KEY_MARK: Final = "whk_"  # lets secret scanners recognise one
PREFIX_CHARS: Final = 12
KEYS_PER_USER: Final = 20  # one for each place that uses it; more are forgotten ones
TOUCHED_EVERY: Final = timedelta(minutes=1)  # the last use is for people to read, and not worth a write per request


@dataclass(frozen=True, slots=True)
class CreatedApiKey:
    """``key`` in clear: this is the only time it exists."""

    id: UUID
    prefix: str
    key: str = field(repr=False)


def create_api_key(
    user_id: UUID, name: str, *, now: datetime, scopes: Collection[Scope] = EVERY_SCOPE
) -> CreatedApiKey:
    """Raises InvalidInput when the user has too many."""
    key = KEY_MARK + new_token()
    made = CreatedApiKey(new_id(), key[:PREFIX_CHARS], key)
    with transaction() as db:
        db.execute(select(User.id).where(User.id == user_id).with_for_update())
        held = select(func.count()).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        if (db.scalar(held) or 0) >= KEYS_PER_USER:
            raise InvalidInput(name="You have 20 keys already. Revoke one that is not used any more.")
        db.add(
            ApiKey(
                id=made.id,
                user_id=user_id,
                name=name,
                prefix=made.prefix,
                key_hash=token_hash(key),
                scopes=[scope.value for scope in EVERY_SCOPE if scope in scopes],
                created_at=now,
            )
        )
        audit(db, user_id, "api_key.create", "api_key", made.id, now, name=name, prefix=made.prefix)
    return made


def revoke_api_key(user_id: UUID, key_id: UUID, *, now: datetime) -> None:
    """The key stops working at once. Raises WhagoError("not_found"), also for another's."""
    with transaction() as db:
        key = db.scalars(
            select(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
            .with_for_update()
        ).one_or_none()
        if key is None:
            raise WhagoError("not_found")
        key.revoked_at = now
        audit(db, user_id, "api_key.revoke", "api_key", key_id, now, prefix=key.prefix)


def touch_api_key(key_hash: bytes, *, now: datetime) -> None:
    """Notes that a key was used."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - TOUCHED_EVERY)
    with transaction() as db:
        db.execute(update(ApiKey).where(ApiKey.key_hash == key_hash, stale).values(last_used_at=now))
