"""One round of deliveries: what happened becomes deliveries, what is due is sent, what came of it is written down.

The worker's clock does this; the web process does it while the worker is silent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from whago.domain.actions.deliveries import Claim, claim_deliveries, finish_attempt, route_events, route_notifications
from whago.domain.rules.outcomes import Sent
from whago.notify.courier import Courier

log = structlog.get_logger()

CLOCK: Final = "deliveries"  # also the lock: one round at a time over all processes
SENT_AT_ONCE: Final = 8  # they mostly wait for receivers
CLAIMED_AT_ONCE: Final = 32  # at most four attempts each in one thread: far below the time that a claim lasts
ROUND_S: Final = 20.0  # then the next tick goes on

Now = Callable[[], datetime]


def deliver_due(
    courier: Courier, *, now: Now, tz: ZoneInfo, stopping: threading.Event | None = None, round_s: float = ROUND_S
) -> Mapping[str, int]:
    """Call it while the lock of ``CLOCK`` is held. Returns what it did, by outcome."""
    route(now=now, tz=tz)
    counts = {"sent": 0, "failed": 0}
    failing: set[UUID] = set()  # asked again in the next round: one that is down must not use up this one
    ends = time.monotonic() + round_s
    with ThreadPoolExecutor(SENT_AT_ONCE, "deliver") as pool:
        while time.monotonic() < ends and not (stopping and stopping.is_set()):
            claims = claim_deliveries(now=now(), limit=CLAIMED_AT_ONCE, without=failing)
            if not claims:
                break
            for claim, sent in zip(claims, pool.map(lambda one: _deliver(courier, one, now), claims), strict=True):
                counts["sent" if sent else "failed"] += 1
                if not sent:
                    failing.add(claim.channel_id)
    return counts


def route(*, now: Now, tz: ZoneInfo) -> None:
    """Makes deliveries of everything that happened and has none yet."""
    while route_notifications(now=now(), tz=tz):
        pass
    while route_events(now=now(), tz=tz):
        pass


def _deliver(courier: Courier, claim: Claim, now: Now) -> bool:
    outcome = courier.send(claim, now())
    finish_attempt(claim, outcome, now=now())
    fields = {"delivery": str(claim.delivery_id), "attempt": claim.attempt, "channel": claim.channel_kind.value}
    if isinstance(outcome, Sent):
        log.info("delivery.sent", **fields)
        return True
    log.warning("delivery.failed", reason=outcome.reason, status=outcome.status, **fields)
    return False
