"""How steady each provider's exits are: what the customer buys, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import ExitIpDay, ExitIpDuplicate, ExitIpLives
from whago.domain.rules.continuity import WINDOW, MedianLife
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class Continuity:
    """The last 30 days of one provider. A chip-day is one chip that was seen on it on one day of the billing zone.

    ``steady_chip_days`` are those without a change that nobody asked for. ``changes``: exits lost; ``duplicates``:
    times that a chip of it was found on an exit of another chip. Clocks count all but the last.
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
    lives = _lives(db)
    shared = _duplicates(db, now)
    return {
        provider_id: Continuity(
            *days.get(provider_id, (0, 0)),
            changes=lives[provider_id].changes if provider_id in lives else 0,
            duplicates=shared.get(provider_id, 0),
            median_life=_median(lives.get(provider_id)),
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


def _lives(db: Session) -> dict[UUID, ExitIpLives]:
    """As the clock added them up last."""
    return {one.provider_id: one for one in db.scalars(select(ExitIpLives))}


def _median(lives: ExitIpLives | None) -> MedianLife | None:
    if lives is None or lives.median_life_s is None:
        return None
    return MedianLife(timedelta(seconds=lives.median_life_s), lives.is_least)


def _duplicates(db: Session, now: datetime) -> dict[UUID, int]:
    query = (
        select(ExitIpDuplicate.younger_provider_id, func.count())
        .where(ExitIpDuplicate.found_at > now - WINDOW)
        .group_by(ExitIpDuplicate.younger_provider_id)
    )
    return dict(db.execute(query).all())
