"""Several probes at once, within a budget, leaving off when the worker shall end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final

from whago.domain.queries.monitor_targets import Upstream
from whago.providers.probe import ProbeResult, ip_check_page, probe
from whago.providers.wire import ProbeUpstream
from whago.tasks.clock import Tools

PROBES_AT_ONCE: Final = 8  # they mostly wait
PROBE_S: Final = 8.0  # a worker that is told to stop waits for at most one of them


def probe_all(upstreams: Sequence[Upstream], tools: Tools) -> Iterator[tuple[Upstream, ProbeResult]]:
    """Results as they come; those not begun when ``tools.stopping`` is set are left out."""
    if not upstreams:
        return
    with ThreadPoolExecutor(min(PROBES_AT_ONCE, len(upstreams)), "probe") as pool:
        pending = {pool.submit(_probe, one, tools): one for one in upstreams}
        for done in as_completed(pending):
            result = done.result()
            if result is not None:
                yield pending[done], result


def _probe(one: Upstream, tools: Tools) -> ProbeResult | None:
    if tools.stopping.is_set():
        return None
    return probe(
        ProbeUpstream(one.protocol, one.host, one.port, one.login.username, one.login.password),
        ip_check_url=ip_check_page(one.ip_check_url, one.host),
        allow_private=tools.allow_private_upstreams,
        timeout_s=PROBE_S,
    )
