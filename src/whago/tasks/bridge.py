"""Chips of our bridges that should run and do not: after a bridge died, or when a reason to stop is gone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import structlog

from whago.bridge.fleet import BridgeFleet, Roll
from whago.bridge.wire import gateway_urls
from whago.domain.actions.bridge_alerts import check_bridges
from whago.domain.actions.bridges import bury_bridges
from whago.domain.actions.chips import renew_gateway_token
from whago.domain.queries.bridge_chips import BridgedChip, chips_that_should_run, strangers_among
from whago.errors import WhagoError
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

EVERY_S: Final = 5  # with DEAD_AFTER: the chips of a dead bridge are being dialled elsewhere within 20 seconds
LOOK_EVERY_S: Final = 15  # for silent bridges: told within a minute of their death
CHIPS_PER_RUN: Final = 50  # ten a second: 500 chips are back in less than a minute, and nobody is hammered
BLOCKED: Final = "proxy_blocked"  # the bridge waits to be told
EVENT_TAKES: Final = timedelta(seconds=10)  # a chip that ended just now is about to say why


def resume_chips(tools: Tools, now: datetime) -> Counts:
    """Hands every such chip a fresh credential, at a controlled rate.

    A chip that the web starts at this moment is tried again next time.
    """
    if tools.bridge is None:
        return {}
    for bridge_id in bury_bridges(now=now):
        log.warning("bridge.died", bridge=str(bridge_id))
    roll = tools.bridge.roll()
    due = [chip for chip in chips_that_should_run(now=now, tz=tools.tz) if _is_due(chip, roll, now)]
    resumed = 0
    for chip in _with_room(due, tools.bridge)[:CHIPS_PER_RUN]:
        if tools.stopping.is_set():
            break
        resumed += _resume(tools, tools.bridge, chip, now)
    return {"due": len(due), "resumed": resumed, "dropped": _drop_strangers(tools.bridge, roll)}


def look_for_silent_bridges(_tools: Tools, now: datetime) -> Counts:
    """Bridges that died without a word, as long as somebody should do something about it."""
    raised, cleared = check_bridges(now=now)
    return {"raised": raised, "cleared": cleared}


def _is_due(chip: BridgedChip, roll: Roll, now: datetime) -> bool:
    if chip.holder in roll.silent:
        return False
    seen = roll.chips.get(chip.chip_id)
    if seen is None or seen.state == BLOCKED:
        return True
    return chip.holder is None and not seen.runs and now - seen.since > EVENT_TAKES


def _with_room(due: list[BridgedChip], bridge: BridgeFleet) -> list[BridgedChip]:
    """Held ones first; of the others no more than fit, so that none loses its credential for nothing."""
    held = [chip for chip in due if chip.holder is not None]
    free = [chip for chip in due if chip.holder is None]
    return held + free[: sum(load.room for load in bridge.loads())]


def _resume(tools: Tools, bridge: BridgeFleet, chip: BridgedChip, now: datetime) -> bool:
    try:
        token = renew_gateway_token(chip.owner_id, chip.chip_id, now=now)
        proxy_url = gateway_urls(tools.gateway_address, chip.chip_id, token)["proxy_url"]
        bridge.create(chip.chip_id, proxy_url, chip.thrift)
    except WhagoError as error:
        log.warning("bridge.resume_failed", chip=str(chip.chip_id), code=error.code)
        return False
    log.info("bridge.resumed", chip=str(chip.chip_id))
    return True


def _drop_strangers(bridge: BridgeFleet, roll: Roll) -> int:
    dropped = 0
    for chip_id in strangers_among(roll.chips.keys()) if roll.chips else []:
        try:
            bridge.drop(roll.places[chip_id], chip_id)
        except WhagoError as error:
            log.warning("bridge.drop_failed", chip=str(chip_id), code=error.code)
        else:
            dropped += 1
    return dropped
