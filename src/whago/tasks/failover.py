"""The pool's guard: scores, ejections, chips away from exits that are gone, alerts. And the emptying of what drains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final

import structlog

from whago.domain.actions.failover import Moved, fail_over, leave_drained
from whago.domain.actions.pool_health import score_pool, tell_pool_state
from whago.domain.queries.failover import Leaving, chips_to_drain, gone_sessions, pool_state
from whago.domain.rules.health import Eject
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

GUARD_EVERY_S: Final = 3  # with the grace this is how long a chip waits for another exit
CHIPS_PER_ROUND: Final = 500  # some milliseconds each
DRAIN_EVERY_S: Final = 20
DRAINED_PER_ROUND: Final = 2  # of each provider: six a minute, so that WhatsApp sees no herd of chips change their IP


def guard(tools: Tools, now: datetime) -> Counts:
    """One round. May be cut anywhere: every step stands alone, and the next round finds what is left to do."""
    for turn in score_pool(now=now):
        event = "proxy.ejected" if isinstance(turn.decision, Eject) else "proxy.returned"
        log.warning(event, proxy=str(turn.proxy_id), score=turn.score)
    grace = timedelta(seconds=tools.failover_grace_s)
    state = pool_state(now=now)
    gone = gone_sessions(grace=grace, now=now, limit=CHIPS_PER_ROUND)
    came = _move_all(
        tools,
        gone,
        lambda one: fail_over(one.chip_id, one.assignment_id, grace=grace, now=now, proven_since=state.proven_since),
    )
    tell_pool_state(now=now)
    if came["moved"]:
        log.warning("failover.round", panic=state.proven_since is not None, **came)
    return {"out": state.out, "gone": len(gone), **came}


def drain(tools: Tools, now: datetime) -> Counts:
    """A few chips of everything that drains."""
    leaving = chips_to_drain(each=DRAINED_PER_ROUND)
    return dict(_move_all(tools, leaving, lambda one: leave_drained(one.chip_id, one.assignment_id, now=now)))


def _move_all(tools: Tools, leaving: Iterable[Leaving], move: Callable[[Leaving], Moved]) -> Counter[str]:
    """One after the other. Where one found nothing better, others of the same way are not tried."""
    came: Counter[str] = Counter()
    closed = set()
    for one in leaving:
        if tools.stopping.is_set():
            break
        outcome = Moved.HELD if one.way in closed else move(one)
        if outcome is Moved.HELD:
            closed.add(one.way)
        came[outcome.value] += 1
    return came
