"""Chips of our bridge that should run and do not: after the bridge was restarted, or when a reason to stop is gone."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import structlog

from whago.bridge.client import BridgeClient
from whago.bridge.wire import gateway_urls
from whago.domain.actions.chips import renew_gateway_token
from whago.domain.queries.bridge_chips import BridgedChip, chips_that_should_run
from whago.errors import WhagoError
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

CHIPS_PER_RUN: Final = 100  # the bridge opens at most twenty a second; the rest comes fifteen seconds later
BLOCKED: Final = "proxy_blocked"  # the bridge waits to be told


def resume_chips(tools: Tools, now: datetime) -> Counts:
    """Hands every such chip a fresh credential. A chip that the web starts at this moment is tried again next time."""
    if tools.bridge is None:
        return {}
    states = {chip.chip_id: chip.state for chip in tools.bridge.list().items}
    due = [chip for chip in chips_that_should_run(now=now, tz=tools.tz) if states.get(chip.chip_id, BLOCKED) == BLOCKED]
    resumed = 0
    for chip in due[:CHIPS_PER_RUN]:
        if tools.stopping.is_set():
            break
        resumed += _resume(tools, tools.bridge, chip, now, waits=chip.chip_id in states)
    return {"due": len(due), "resumed": resumed}


def _resume(tools: Tools, bridge: BridgeClient, chip: BridgedChip, now: datetime, *, waits: bool) -> bool:
    try:
        token = renew_gateway_token(chip.owner_id, chip.chip_id, now=now)
        proxy_url = gateway_urls(tools.gateway_address, chip.chip_id, token)["proxy_url"]
        if waits:
            bridge.use_proxy(chip.chip_id, proxy_url)
        else:
            bridge.create(chip.chip_id, proxy_url)
    except WhagoError as error:
        log.warning("bridge.resume_failed", chip=str(chip.chip_id), code=error.code)
        return False
    log.info("bridge.resumed", chip=str(chip.chip_id))
    return True
