"""Calibrations under way: read the vendor's meter, make the next batch of transfers, come back when it has counted."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from whago.domain.actions.calibrations import Batch, Moment, carry_on, fail_calibration, record_transfers
from whago.domain.actions.house import record_house_traffic
from whago.domain.queries.bills import Asking, chip_total, due_calibrations, to_ask
from whago.domain.queries.probing import trial_of_provider
from whago.errors import InvalidInput, WhagoError
from whago.providers.billing import VENDORS, UsageApiFailed, fetch_usage
from whago.providers.transfer import DEFAULT_TRANSFER_URL, transfer
from whago.providers.wire import ProbeUpstream
from whago.tasks.bills import account_of, lag_of
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

MARGIN: Final = timedelta(seconds=1)  # a vendor's figures are cut at whole seconds


def carry_on_calibrations(tools: Tools, now: datetime) -> Counts:
    """One step of each that is due."""
    due = due_calibrations(now=now)
    known = {one.billing.provider_id: one for one in to_ask(tools.vault, frozenset(VENDORS))} if due else {}
    for calibration_id, provider_id in due:
        if tools.stopping.is_set():
            break
        _step(calibration_id, known.get(provider_id), tools, now)
    return {"due": len(due)}


def _step(calibration_id: UUID, one: Asking | None, tools: Tools, now: datetime) -> None:
    if one is None:
        fail_calibration(calibration_id, "no_usage_api", now=now)
        return
    try:
        total = _vendor_total(one, tools, now)
    except UsageApiFailed as error:
        log.warning("calibration.failed", provider=str(one.billing.provider_id), problem=error.problem)
        fail_calibration(calibration_id, f"usage_api_{error.problem}", now=now)
        return
    moment = carry_on(calibration_id, vendor_total=total, chip_total=chip_total(one.billing.provider_id), now=now)
    if moment is not None and moment.batch is not None:
        _transfer(calibration_id, one, moment, moment.batch, tools, now)


def _vendor_total(one: Asking, tools: Tools, now: datetime) -> int:
    """A counter that only grows while a calibration runs: the days since yesterday, or the account's own counter."""
    today = now.astimezone(ZoneInfo(one.billing.usage_tz)).date()
    account = account_of(one.billing, one.credentials)
    usage = fetch_usage(account, today - timedelta(days=1), today, allow_private=tools.allow_private_upstreams)
    if usage.days is not None:
        return sum(usage.days.values())
    if usage.counter is None:
        raise UsageApiFailed("strange", "The vendor's usage API told neither days nor a counter.")
    counted = usage.counter.counted_bytes
    return counted if usage.counter.kind == "used" else -counted


def _transfer(calibration_id: UUID, one: Asking, moment: Moment, batch: Batch, tools: Tools, now: datetime) -> None:
    try:
        trial = trial_of_provider(moment.provider_id, tools.vault)
    except (WhagoError, InvalidInput):
        fail_calibration(calibration_id, "no_upstream", now=now)
        return
    upstream = ProbeUpstream(trial.protocol, trial.host, trial.port, trial.login.username, trial.login.password)
    url = one.billing.transfer_url or DEFAULT_TRANSFER_URL
    wire_bytes = 0
    for _ in range(batch.tunnels):
        moved = transfer(upstream, url, batch.each_bytes, allow_private=tools.allow_private_upstreams)
        record_house_traffic(moment.provider_id, "calibration", moved.wire_bytes, now=now, tz=tools.tz)
        wire_bytes += moved.wire_bytes
        if moved.problem is not None:
            fail_calibration(calibration_id, f"transfer_{moved.problem}", now=now)
            return
    waits = lag_of(one.billing) + MARGIN
    record_transfers(calibration_id, wire_bytes=wire_bytes, tunnels=batch.tunnels, next_at=now + waits)
