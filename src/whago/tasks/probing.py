"""Several probes at once, each on the house's account, leaving off when the worker shall end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import datetime
from typing import Final

from whago.domain.actions.house import record_house_traffic
from whago.domain.models.house import Purpose
from whago.domain.queries.monitor_targets import Upstream
from whago.providers.probe import ProbeResult, ip_check_page, probe
from whago.providers.wire import ProbeUpstream
from whago.tasks.clock import Tools

PROBES_AT_ONCE: Final = 8  # they mostly wait
PROBE_S: Final = 8.0  # a worker that is told to stop waits for at most one of them


def probe_all(
    upstreams: Sequence[Upstream],
    tools: Tools,
    *,
    now: datetime,
    purpose: Purpose = "health",
    knocks_only: bool = False,
) -> Iterator[tuple[Upstream, ProbeResult]]:
    """Results as they come; those not begun when ``tools.stopping`` is set are left out.

    What each of them moved is on the house's account before its result is told. ``knocks_only``: no page is fetched.
    """
    if not upstreams:
        return
    with ThreadPoolExecutor(min(PROBES_AT_ONCE, len(upstreams)), "probe") as pool:
        pending = {pool.submit(_probe, one, tools, knocks_only): one for one in upstreams}
        for done in as_completed(pending):
            result = done.result()
            if result is not None:
                one = pending[done]
                record_house_traffic(one.provider_id, purpose, result.bytes_moved, now=now, tz=tools.tz)
                yield one, result


def _probe(one: Upstream, tools: Tools, knocks_only: bool) -> ProbeResult | None:
    if tools.stopping.is_set():
        return None
    return probe(
        ProbeUpstream(one.protocol, one.host, one.port, one.login.username, one.login.password),
        ip_check_url=None if knocks_only else ip_check_page(one.ip_check_url, one.host),
        allow_private=tools.allow_private_upstreams,
        knocks=knocks_only,
        timeout_s=PROBE_S,
    )
