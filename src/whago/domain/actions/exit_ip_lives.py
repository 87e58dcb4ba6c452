"""How long exit IPs live, by provider: added up by a clock, so that pages read one row a provider."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, text
from sqlalchemy.orm import Session

from whago.domain.models import ExitIpLives
from whago.domain.rules.continuity import VOLUNTARY_ENDS, WINDOW, Life, median_life
from whago.kit.db import locked, transaction


def measure_exit_ip_lives(*, now: datetime) -> int:
    """Counts anew what the last 30 days showed; returns of how many providers. Those not seen in them are forgotten."""
    with transaction() as db:
        locked(db, "exit ip lives")  # two workers at once would both insert
        found = _lives(db, now)
        db.execute(delete(ExitIpLives))
        if found:
            db.execute(insert(ExitIpLives), [_row(provider_id, lives, now) for provider_id, lives in found.items()])
        return len(found)


_LIVES: Final = text("""
SELECT provider_id, coalesce(next_at, last_seen_at) - first_seen_at, next_at IS NOT NULL OR was_lost
FROM (
    SELECT a.provider_id, o.first_seen_at, o.last_seen_at,
           lead(o.first_seen_at) OVER (PARTITION BY o.assignment_id ORDER BY o.first_seen_at) AS next_at,
           coalesce(NOT a.release_reason = ANY(:voluntary), false) AS was_lost
    FROM exit_ip_observations o JOIN chip_proxy_assignments a ON a.id = o.assignment_id
    WHERE o.last_seen_at > :since
) AS stretch
""").bindparams(bindparam("voluntary", sorted(VOLUNTARY_ENDS)))


def _lives(db: Session, now: datetime) -> dict[UUID, list[Life]]:
    lives: dict[UUID, list[Life]] = defaultdict(list)
    for provider_id, length, ended in db.execute(_LIVES, {"since": now - WINDOW}):
        lives[provider_id].append(Life(length, ended))
    return lives


def _row(provider_id: UUID, lives: Sequence[Life], now: datetime) -> dict[str, object]:
    median = median_life(lives)
    return {
        "provider_id": provider_id,
        "changes": sum(life.ended for life in lives),
        "median_life_s": int(median.length.total_seconds()) if median is not None else None,
        "is_least": median is not None and median.is_least,
        "as_of": now,
    }
