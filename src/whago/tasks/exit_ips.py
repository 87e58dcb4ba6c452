"""Exit IPs: what the world sees behind each assignment, right after it is made, after a reconnect, and at intervals.

A look costs about a kilobyte of the house's own account (ADR 11): it goes through the chip's own sticky session, yet
customers pay for their traffic alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from whago.domain.actions.exit_ip_lives import measure_exit_ip_lives
from whago.domain.actions.exit_ips import Observed, close_settled, observe_exit_ip, roll_exit_ip_days, settle_duplicate
from whago.domain.queries.exit_targets import exits_of, exits_to_observe
from whago.domain.queries.monitor_targets import Upstream
from whago.domain.rules.continuity import Meaning
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
        seen = self._look(ready[:PROBES_PER_RUN], tools, now)
        failed = len(ready[:PROBES_PER_RUN]) - len(seen) if not tools.stopping.is_set() else 0
        shared = self._settle_shared(seen, tools, now)
        close_settled(now=now)
        return {
            "seen": len(seen),
            "changed": sum(one.meaning is Meaning.CHANGED for one in seen.values()),
            "paused": sum(one.is_paused for one in seen.values()),
            "shared": shared,
            "failed": failed,
            "waiting": max(0, len(ready) - len(seen) - failed),
        }

    def _look(self, upstreams: Sequence[Upstream], tools: Tools, now: datetime) -> dict[UUID, Observed]:
        seen: dict[UUID, Observed] = {}
        for upstream, result in probe_all(upstreams, tools, purpose="exit_ip", now=now):
            if result.exit_ip is None:
                self._put_off(upstream, result, now)
                continue
            self._failures.pop(upstream.subject, None)
            observed = _record(upstream, result, result.exit_ip, now)
            if observed is not None:
                seen[upstream.subject] = observed
        return seen

    def _settle_shared(self, seen: dict[UUID, Observed], tools: Tools, now: datetime) -> int:
        """An address that two assignments showed is looked at again for both before anything is said or done."""
        suspects = {ident: set(one.shared_with) for ident, one in seen.items() if one.shared_with}
        again = {other for others in suspects.values() for other in others} - seen.keys()
        for ident, one in self._look(exits_of(tools.vault, again), tools, now).items():
            if one.shared_with:
                suspects.setdefault(ident, set()).update(one.shared_with)
        looked_at = seen.keys() | again
        pairs = {frozenset((one, other)) for one, others in suspects.items() for other in others if other in looked_at}
        return sum(_settle(*sorted(pair, key=str), now=now) for pair in sorted(pairs, key=sorted))

    def _may_ask(self, one: Upstream, now: datetime) -> bool:
        kept = self._failures.get(one.subject)
        return kept is None or kept[1] <= now

    def _put_off(self, one: Upstream, result: ProbeResult, now: datetime) -> None:
        times = self._failures.get(one.subject, (0, now))[0] + 1
        wait_s = min(FIRST_RETRY_S * 2 ** min(times - 1, 10), LAST_RETRY_S)
        self._failures[one.subject] = (times, now + timedelta(seconds=wait_s))
        log.warning("exit_ip.not_seen", assignment=str(one.subject), diagnosis=result.diagnosis, times=times)


def roll_days(tools: Tools, now: datetime) -> Counts:
    """Each provider's chip-days, those without a change, and how long its addresses live."""
    return {"rows": roll_exit_ip_days(now=now, tz=tools.tz), "providers": measure_exit_ip_lives(now=now)}


def _record(upstream: Upstream, result: ProbeResult, exit_ip: str, now: datetime) -> Observed | None:
    observed = observe_exit_ip(upstream.subject, exit_ip, country=result.country, asn=result.asn, now=now)
    if observed is not None and observed.meaning is Meaning.CHANGED:
        log.warning("exit_ip.changed", assignment=str(upstream.subject), exit_ip=exit_ip, paused=observed.is_paused)
    return observed


def _settle(first: UUID, second: UUID, *, now: datetime) -> int:
    try:
        moved = settle_duplicate(first, second, now=now)
    except WhagoError as error:
        if error.code != "not_found":  # its chip was deleted meanwhile
            raise
        return 0
    if moved is None:
        return 0
    log.warning("exit_ip.shared", assignments=[str(first), str(second)], moved=moved)
    return 1
