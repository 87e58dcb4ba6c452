"""Probes of our own: of proxies on trial, accounts in doubt, and rarely of what nobody uses. Traffic tells the rest."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from whago.domain.actions.pool_health import Attempt, count_exit_changes, record_probe
from whago.domain.queries.failover import pool_state
from whago.domain.queries.monitor_targets import Upstream
from whago.domain.queries.probes_due import health_bytes_today, probes_due
from whago.errors import WhagoError
from whago.providers.probe import ProbeResult
from whago.tasks.clock import Counts, Tools
from whago.tasks.probing import probe_all

log = structlog.get_logger()

PROBES_PER_RUN: Final = 20  # a few seconds at most, so that a proxy on trial need not wait for idle ones


def sweep(tools: Tools, now: datetime) -> Counts:
    """Within the day's budget everything that is due; beyond it only what chips may be waiting for, and without a page.

    A failure that is not the proxy's own (account, target, page) costs it no points.
    """
    within_budget = health_bytes_today(now=now, tz=tools.tz) < tools.probe_bytes_per_day
    state = pool_state(now=now)
    needs_proof = state.proven_since is not None and state.failing > 0
    due = probes_due(tools.vault, now=now, limit=PROBES_PER_RUN, survivors=needs_proof, with_idle=within_budget)
    failed = tried = 0
    for upstream, result in probe_all(due, tools, now=now, knocks_only=not within_budget):
        tried += 1
        failed += not result.success
        _record(upstream, result, now)
    return {"tried": tried, "failed": failed}


def count_changes(_tools: Tools, now: datetime) -> Counts:
    """Silent changes of exit IPs, for the scores."""
    return {"changed": count_exit_changes(now=now)}


def _record(upstream: Upstream, result: ProbeResult, now: datetime) -> None:
    try:
        score = record_probe(upstream.subject, attempt_of(result), now=now)
    except WhagoError as error:
        if error.code != "not_found":  # deleted meanwhile
            raise
        return
    if not result.success:
        log.warning("proxy.check_failed", proxy=str(upstream.subject), diagnosis=result.diagnosis, score=score)


def attempt_of(result: ProbeResult) -> Attempt:
    """What the pool is told of a probe."""
    return Attempt(result.success, result.latency_ms, result.error, result.diagnosis, result.speaks_against)
