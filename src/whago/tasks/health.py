"""The health sweep: real attempts through proxies that nobody has tried lately, and through those that fail."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from whago.domain.actions.pool import record_probe
from whago.domain.queries.monitor_targets import Upstream, proxies_to_check
from whago.errors import WhagoError
from whago.providers.probe import ProbeResult
from whago.tasks.clock import Counts, Tools
from whago.tasks.probing import probe_all

log = structlog.get_logger()

PROBES_PER_RUN: Final = 20  # the budget: at a kilobyte each, below 30 MB a day in the worst case


def sweep(tools: Tools, now: datetime) -> Counts:
    """Scores what it tries. A failure that is not the proxy's own (credential, balance, page) costs no points."""
    failed = tried = 0
    for upstream, result in probe_all(proxies_to_check(tools.vault, now=now, limit=PROBES_PER_RUN), tools):
        tried += 1
        failed += not result.success
        _record(upstream, result, now)
    return {"tried": tried, "failed": failed}


def _record(upstream: Upstream, result: ProbeResult, now: datetime) -> None:
    try:
        score = record_probe(
            upstream.subject,
            success=result.success,
            latency_ms=result.latency_ms,
            error=result.error,
            counts_against=result.counts_against,
            now=now,
        )
    except WhagoError as error:
        if error.code != "not_found":  # deleted meanwhile
            raise
        return
    if not result.success:
        log.warning("proxy.check_failed", proxy=str(upstream.subject), diagnosis=result.diagnosis, score=score)
