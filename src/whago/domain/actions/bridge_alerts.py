"""Bridges that died without a word are told to administrators."""

from __future__ import annotations

from datetime import datetime

from whago.domain.models import Severity, raise_alert
from whago.domain.models.alerting import clear_others
from whago.domain.models.bridges import missing_bridges
from whago.kit.db import transaction

KIND = "bridge_silent"


def check_bridges(*, now: datetime) -> tuple[int, int]:
    """How many alerts were raised and ended.

    One for each address: it ends when a bridge answers there again, or when the chips run elsewhere and it stays away.
    """
    with transaction() as db:
        missing = missing_bridges(db, now)
        raised = sum(
            raise_alert(
                db,
                KIND,
                bridge.url,
                now=now,
                severity=Severity.ERROR,
                data={"url": bridge.url, "since_at": bridge.last_seen_at.isoformat(), "count": stranded},
            )
            for bridge, stranded in missing
        )
        return raised, clear_others(db, KIND, [bridge.url for bridge, _ in missing], now=now)
