"""The clocks behind alerts: those that look for what nobody else raises, and the one that delivers."""

from __future__ import annotations

from datetime import datetime

import structlog

from whago.domain.actions import alert_checks, deliveries
from whago.kit import clock as wall
from whago.notify.post_office import deliver_due
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()


def deliver(tools: Tools, _now: datetime) -> Counts:
    """What happened, to e-mail addresses and webhooks."""
    if tools.courier is None:
        return {}
    return deliver_due(tools.courier, now=wall.now, tz=tools.tz, stopping=tools.stopping)


def look_at_quotas(tools: Tools, now: datetime) -> Counts:
    """Alerts about thresholds that are over, and limits that will not last the month."""
    over = alert_checks.check_quotas(now=now, tz=tools.tz)
    projected = alert_checks.check_projections(now=now, tz=tools.tz)
    return {"raised": projected.raised, "cleared": over.cleared + projected.cleared}


def look_for_waiting_chips(_tools: Tools, now: datetime) -> Counts:
    """Customers whose chips wait for a proxy; what lasts less than a minute is over before anybody reads of it."""
    found = alert_checks.check_waiting_chips(now=now)
    return {"raised": found.raised, "cleared": found.cleared}


def look_for_spikes(_tools: Tools, now: datetime) -> Counts:
    """Chips that cost far more than they used to."""
    found = alert_checks.check_spikes(now=now)
    return {"raised": found.raised, "cleared": found.cleared}


def keep_log_short(_tools: Tools, now: datetime) -> Counts:
    """Deliveries that waited too long, and old records of them."""
    ended, removed = deliveries.end_old(now=now)
    return {"ended": ended, "removed": removed}
