"""Exit IPs: what the world sees behind each assignment, first seen soon after it is made and then once an hour."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from whago.domain.actions.assignments import observe_exit_ip
from whago.domain.queries.monitor_targets import Upstream, exits_to_observe
from whago.errors import WhagoError
from whago.providers.probe import ProbeResult, ip_check_page
from whago.tasks.clock import Counts, Tools
from whago.tasks.probing import probe_all

log = structlog.get_logger()

PROBES_PER_RUN: Final = 40  # 200 new chips are seen within 75 s
LOOKED_AT: Final = 1_000  # assignments that are fetched to find those whose turn it is
FIRST_RETRY_S: Final = 30
LAST_RETRY_S: Final = 3600  # a dead exit is asked once an hour, not at every tick


class ExitWatch:
    """Remembers, between runs of one worker, which exits did not answer and when to ask them again."""

    def __init__(self) -> None:
        self._failures: dict[UUID, tuple[int, datetime]] = {}

    def observe(self, tools: Tools, now: datetime) -> Counts:
        """Observes what is due. Upstreams on private addresses without a page of their own are left out."""
        due = exits_to_observe(tools.vault, now=now, limit=LOOKED_AT)
        known = {one.subject for one in due}
        self._failures = {key: kept for key, kept in self._failures.items() if key in known}
        ready = [one for one in due if ip_check_page(one.ip_check_url, one.host) and self._may_ask(one, now)]
        seen = changed = failed = 0
        for upstream, result in probe_all(ready[:PROBES_PER_RUN], tools):
            if result.exit_ip is None:
                failed += 1
                self._put_off(upstream, result, now)
                continue
            self._failures.pop(upstream.subject, None)
            seen += 1
            changed += _record(upstream, result, result.exit_ip, now)
        return {"seen": seen, "changed": changed, "failed": failed, "waiting": len(ready) - seen - failed}

    def _may_ask(self, one: Upstream, now: datetime) -> bool:
        kept = self._failures.get(one.subject)
        return kept is None or kept[1] <= now

    def _put_off(self, one: Upstream, result: ProbeResult, now: datetime) -> None:
        times = self._failures.get(one.subject, (0, now))[0] + 1
        wait_s = min(FIRST_RETRY_S * 2 ** min(times - 1, 10), LAST_RETRY_S)
        self._failures[one.subject] = (times, now + timedelta(seconds=wait_s))
        log.warning("exit_ip.not_seen", assignment=str(one.subject), diagnosis=result.diagnosis, times=times)


def _record(upstream: Upstream, result: ProbeResult, exit_ip: str, now: datetime) -> bool:
    try:
        changed = observe_exit_ip(upstream.subject, exit_ip, country=result.country, asn=result.asn, now=now)
    except WhagoError as error:
        if error.code != "not_found":  # the chip's creation was taken back meanwhile
            raise
        return False
    if changed:
        log.warning("exit_ip.changed", assignment=str(upstream.subject), exit_ip=exit_ip)
    return changed
