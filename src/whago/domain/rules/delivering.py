"""When a delivery is tried again, when that ends, and when a channel is switched off."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

FIRST_RETRY_S: Final = 10.0
RETRY_FACTOR: Final = (
    3.0  # 10 s, 30 s, 90 s, 4.5 min, … so that a short outage is over soon and a long one costs little
)
RETRY_MAX_S: Final = 6 * 3_600.0
JITTER: Final = 0.25  # of the wait, so that what failed together does not come back together
GIVE_UP_AFTER: Final = timedelta(hours=72)  # a long weekend; news that is older is read in the application
DISABLE_AFTER_FAILURES: Final = 10  # in a row, of whatever deliveries
DISABLE_AFTER: Final = timedelta(hours=1)  # and for this long: a receiver's deployment must not switch it off
CLAIM_LASTS: Final = timedelta(minutes=3)  # longer than the longest attempt: ten answers of a slow mail server
ARCHIVE_AFTER: Final = timedelta(days=30)  # of the log of deliveries


def retry_at(delivery_id: UUID, attempt: int, now: datetime, retry_after_s: int | None = None) -> datetime:
    """When to try again after the attempt of this number (from 1); the receiver's own wish is a minimum."""
    wait = min(FIRST_RETRY_S * RETRY_FACTOR ** (attempt - 1), RETRY_MAX_S)
    jittered = wait * (1 + JITTER * (2 * _roll(delivery_id, attempt) - 1))
    return now + timedelta(seconds=max(jittered, retry_after_s or 0))


def gives_up(created_at: datetime, next_at: datetime) -> bool:
    """Whether the next attempt would come too late to be worth it."""
    return next_at - created_at > GIVE_UP_AFTER


def is_hopeless(failures: int, failing_since: datetime | None, now: datetime) -> bool:
    """Whether a channel that failed this often in a row is switched off."""
    return failures >= DISABLE_AFTER_FAILURES and failing_since is not None and now - failing_since >= DISABLE_AFTER


def _roll(delivery_id: UUID, attempt: int) -> float:
    """0 to 1, the same for the same attempt, evenly spread over deliveries."""
    digest = hashlib.blake2b(delivery_id.bytes + attempt.to_bytes(4, "big"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
