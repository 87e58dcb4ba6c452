"""The usage monitor: every five minutes what moved, once a day this month and the last one whole."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from whago.domain.actions.clock_runs import last_success
from whago.domain.actions.monitor import Checked, check_usage
from whago.domain.actions.usage_days import roll_days
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

MONITOR: Final = "usage_monitor"


def monitor(tools: Tools, now: datetime) -> Counts:
    """What moved since the last good run."""
    return _counts(check_usage(since=last_success(MONITOR), now=now, tz=tools.tz))


def audit(tools: Tools, now: datetime) -> Counts:
    """Everything that can still be wrong, whether it moved or not."""
    return _counts(check_usage(since=None, now=now, tz=tools.tz))


def add_up_days(tools: Tools, now: datetime) -> Counts:
    """Days that are over, for the charts of all customers."""
    return {"days": roll_days(now=now, tz=tools.tz)}


def _counts(checked: Checked) -> Counts:
    for one in checked.repaired:
        log.error("ledger.mismatch_repaired", **one.told())
    for user_id in checked.over_limit:
        log.warning("quota.over_limit", user=str(user_id))
    return {"months": checked.months, "repaired": len(checked.repaired), "over_limit": len(checked.over_limit)}
