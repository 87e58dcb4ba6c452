"""The demo's bills: what the simulated vendor would have billed for the past, most days as metered, one too much."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.domain.actions.bills import record_vendor_days
from whago.domain.queries.bills import metered_days, usage_days

DAYS: Final = 14
USUAL_PER_MILLE: Final = (1002, 998, 1004, 1001, 999, 1003, 1000)  # a vendor's own rounding, week after week
ODD_DAY_AGO: Final = 5  # not the newest: what is newest is told as an alert
ODD_PER_MILLE: Final = 1034


def seed_bills(provider_id: UUID, *, now: datetime, tz: ZoneInfo) -> None:
    """Once; whatever people import or change afterwards stays."""
    if usage_days(provider_id, limit=1):
        return
    today = now.astimezone(tz).date()
    metered = metered_days(provider_id, since=today - timedelta(days=DAYS), until=today)
    bills = {}
    for day, moved in metered.items():
        ago = (today - day).days
        per_mille = ODD_PER_MILLE if ago == ODD_DAY_AGO else USUAL_PER_MILLE[ago % len(USUAL_PER_MILLE)]
        bills[day] = moved * per_mille // 1000
    if bills:
        record_vendor_days(provider_id, bills, source="csv", now=now, tz=tz)
