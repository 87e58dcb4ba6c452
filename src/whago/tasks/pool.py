"""Chips that lost their proxy when the pool was empty get one as soon as there is room again."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from whago.domain.actions.assignments import give_waiting_chip_a_proxy
from whago.domain.actions.chips import rest_silent_chips
from whago.domain.queries.monitor_targets import waiting_chips
from whago.errors import WhagoError
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

CHIPS_PER_RUN: Final = 200  # a millisecond each; the rest comes fifteen seconds later


def serve_waiting_chips(_tools: Tools, now: datetime) -> Counts:
    """Stops at the first chip for which there is no room, since the next one would not find any either."""
    waiting = waiting_chips(limit=CHIPS_PER_RUN)
    served = 0
    for chip_id in waiting:
        try:
            served += give_waiting_chip_a_proxy(chip_id, now=now)
        except WhagoError as error:
            if error.code == "no_healthy_proxy":
                break
            if error.code != "not_found":  # deleted meanwhile
                raise
    if served:
        log.info("pool.waiting_chips_served", served=served, waiting=len(waiting) - served)
    return {"waiting": len(waiting) - served, "served": served}


def notice_silent_chips(_tools: Tools, now: datetime) -> Counts:
    """Chips on external engines that stopped talking."""
    return {"resting": rest_silent_chips(now=now)}
