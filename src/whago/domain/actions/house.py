"""The house's account: what our own probes move."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.domain.models.house import Purpose, charge_house
from whago.kit.db import transaction


def record_house_traffic(
    provider_id: UUID, purpose: Purpose, moved_bytes: int, *, attempts: int = 1, now: datetime, tz: ZoneInfo
) -> None:
    """Bytes of the raw upstream socket, both ways, at the provider's price of this moment."""
    with transaction() as db:
        charge_house(db, provider_id, purpose, moved_bytes, attempts=attempts, now=now, tz=tz)
