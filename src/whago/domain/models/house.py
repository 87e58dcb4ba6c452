"""The house's own traffic: probes, looks at exit IPs, tests, calibrations. The vendor bills it, no customer pays it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from whago.domain.models.proxies import ProbeDay, Provider
from whago.domain.rules.bills import cost_of

Purpose = Literal["health", "exit_ip", "test", "calibration"]


def charge_house(
    db: Session,
    provider_id: UUID,
    purpose: Purpose,
    moved_bytes: int,
    *,
    attempts: int = 1,
    now: datetime,
    tz: ZoneInfo,
) -> None:
    """Adds bytes of the raw upstream socket, at the provider's price of this moment. Days are the billing zone's."""
    provider = db.get(Provider, provider_id)
    if provider is None:
        return
    cost = cost_of(moved_bytes, provider.cost_per_gb, provider.bytes_per_gb)
    new = insert(ProbeDay).values(
        day=now.astimezone(tz).date(),
        provider_id=provider_id,
        purpose=purpose,
        probes=attempts,
        bytes=moved_bytes,
        cost=cost,
    )
    added = {
        "probes": ProbeDay.probes + new.excluded.probes,
        "bytes": ProbeDay.bytes + new.excluded.bytes,
        "cost": ProbeDay.cost + new.excluded.cost,
    }
    db.execute(new.on_conflict_do_update(index_elements=["day", "provider_id", "purpose"], set_=added))
