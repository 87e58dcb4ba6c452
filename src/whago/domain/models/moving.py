"""Moving chips whose proxy goes away: to another one at once, or into a clear waiting state. Never without a proxy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from whago.domain.models.assigning import assign, note, release
from whago.domain.models.chips import Chip, ChipStatus
from whago.errors import WhagoError


def move_or_wait(db: Session, chip: Chip, *, reason: str, now: datetime, avoid: Sequence[UUID] = ()) -> bool:
    """Returns whether another proxy was found; otherwise the chip waits and its gateway refuses it with 503."""
    release(db, chip.id, reason=reason, now=now)
    chip.sticky_generation += 1
    try:
        assign(db, chip, reason=reason, now=now, avoid=avoid)
    except WhagoError as error:
        if error.code != "no_healthy_proxy":
            raise
        chip.status, chip.status_reason = ChipStatus.WAITING_PROXY, "no_healthy_proxy"
        note(db, chip.id, "waiting_proxy", now, reason=reason)
        return False
    return True
