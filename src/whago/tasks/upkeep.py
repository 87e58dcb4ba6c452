"""Small clocks that keep the house: sign of life, leases, gateways, partitions, old records."""

from __future__ import annotations

from datetime import datetime

import structlog

from whago.domain.actions import alert_checks, clock_runs, gateways, lease_quota, partitions
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()


def beat(_tools: Tools, _now: datetime) -> Counts:
    """The run itself is the message: scheduler, broker, worker and database all work."""
    return {}


def expire_leases(_tools: Tools, now: datetime) -> Counts:
    """Leases of gateways without a sign of life."""
    return {"expired": lease_quota.expire_leases(now=now)}


def look_for_silent_gateways(_tools: Tools, now: datetime) -> Counts:
    """Gateways that neither stopped nor report: what they metered last waits in their counter files."""
    silent = gateways.silent_boots(now=now)
    for boot_id in silent:
        log.warning("gateway.silent", boot=str(boot_id))
    alert_checks.check_gateways(now=now)
    return {"silent": len(silent)}


def make_partitions(tools: Tools, now: datetime) -> Counts:
    """The ledger's next months."""
    return {"months": partitions.make_partitions(now=now, tz=tools.tz)}


def trim_runs(_tools: Tools, now: datetime) -> Counts:
    """Old records of runs."""
    return {"removed": clock_runs.trim_runs(now=now)}
