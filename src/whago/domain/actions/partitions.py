"""Partitions of the ledger, made ahead of time."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from whago.domain.models import ensure_partition
from whago.domain.rules.months import billing_month, next_month, previous_month
from whago.kit.db import transaction

MONTHS_AHEAD = 3  # a scheduler that is silent for a whole quarter is noticed


def make_partitions(*, now: datetime, tz: ZoneInfo) -> int:
    """Makes the partitions of last month to ``MONTHS_AHEAD`` months ahead; returns how many months are covered."""
    month = previous_month(billing_month(now, tz))
    with transaction() as db:
        for _ in range(MONTHS_AHEAD + 2):
            ensure_partition(db, month)
            month = next_month(month)
    return MONTHS_AHEAD + 2
