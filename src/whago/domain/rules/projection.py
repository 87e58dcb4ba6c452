"""What a month comes to when it goes on as so far, and when that is worth telling."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from whago.domain.rules.months import month_progress

TOLD_FROM_PROGRESS: Final = 0.1  # three days: before that one busy evening looks like a disaster
CALM_SHARE: Final = 0.95  # of the limit, under which it is no longer told: it must not flicker at the limit
FLOOR: Final = timedelta(days=1)  # a month's first hours say nothing about the rest, so a day is the least measure


def progress_of(now: datetime, tz: ZoneInfo) -> float:
    """How much of the month counts as passed, above 0 and at most 1."""
    return month_progress(now, tz, at_least=FLOOR)


def projected_bytes(used_bytes: int, progress: float) -> int:
    return round(used_bytes / progress)


def may_exceed(used_bytes: int, limit: int | None, progress: float) -> bool:
    """Whether a customer who is still within the limit will pass it before the month ends."""
    if not limit or progress < TOLD_FROM_PROGRESS or used_bytes >= limit:
        return False
    return projected_bytes(used_bytes, progress) > limit


def will_last(used_bytes: int, limit: int | None, progress: float) -> bool:
    """Whether what was told by ``may_exceed`` is no longer true, by a margin."""
    return not limit or projected_bytes(used_bytes, progress) < limit * CALM_SHARE
