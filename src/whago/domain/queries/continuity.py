"""How steady each provider's exits are: what the customer buys, as numbers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, func, select, text
from sqlalchemy.orm import Session

from whago.domain.models import ExitIpDay, ExitIpDuplicate
from whago.domain.rules.continuity import VOLUNTARY_ENDS, Life, MedianLife, median_life
from whago.kit.db import reading

WINDOW: Final = timedelta(days=30)  # long enough for a median, short enough to follow a vendor's decline


@dataclass(frozen=True, slots=True)
class Continuity:
    """The last 30 days of one provider. A chip-day is one chip that was seen on it on one day of the billing zone.

    ``steady_chip_days`` are those without a change that nobody asked for. ``changes``: exits lost; ``duplicates``:
    times that a chip of it was found on an exit of another chip.
    """

    chip_days: int
    steady_chip_days: int
    changes: int
    duplicates: int
    median_life: MedianLife | None

    @property
    def steady_percent(self) -> float | None:
        """None before the first chip-day."""
        return round(100 * self.steady_chip_days / self.chip_days, 2) if self.chip_days else None

    @property
    def median_life_s(self) -> int | None:
        return int(self.median_life.length.total_seconds()) if self.median_life is not None else None

    @property
    def median_life_is_least(self) -> bool:
        """Most addresses still live, so their median life is at least this long."""
        return self.median_life is not None and self.median_life.is_least


NOTHING_YET: Final = Continuity(0, 0, 0, 0, None)


def continuity_by_provider(*, now: datetime, tz: ZoneInfo) -> dict[UUID, Continuity]:
    """Providers of which something was seen in the window."""
    with reading() as db:
        return continuity_in(db, now=now, tz=tz)


def continuity_in(db: Session, *, now: datetime, tz: ZoneInfo) -> dict[UUID, Continuity]:
    """The same, inside a reader's own snapshot."""
    days = _days(db, now, tz)
    lives = _lives(db, now)
    shared = _duplicates(db, now)
    return {
        provider_id: Continuity(
            *days.get(provider_id, (0, 0)),
            changes=sum(life.ended for life in lives.get(provider_id, ())),
            duplicates=shared.get(provider_id, 0),
            median_life=median_life(lives.get(provider_id, ())),
        )
        for provider_id in days.keys() | lives.keys() | shared.keys()
    }


def _days(db: Session, now: datetime, tz: ZoneInfo) -> dict[UUID, tuple[int, int]]:
    query = (
        select(ExitIpDay.provider_id, func.sum(ExitIpDay.chip_days), func.sum(ExitIpDay.steady_chip_days))
        .where(ExitIpDay.day > (now - WINDOW).astimezone(tz).date())
        .group_by(ExitIpDay.provider_id)
    )
    return {provider_id: (int(all_days), int(steady)) for provider_id, all_days, steady in db.execute(query)}


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


def _duplicates(db: Session, now: datetime) -> dict[UUID, int]:
    query = (
        select(ExitIpDuplicate.younger_provider_id, func.count())
        .where(ExitIpDuplicate.found_at > now - WINDOW)
        .group_by(ExitIpDuplicate.younger_provider_id)
    )
    return dict(db.execute(query).all())
