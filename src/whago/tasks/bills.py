"""Vendors' bills: asked of their usage APIs when a day of theirs is complete, and compared with our own figures."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

import structlog

from whago.domain.actions.bills import record_api_failure, record_balance, record_reading, record_vendor_days
from whago.domain.queries.bills import Asking, BillingView, to_ask
from whago.domain.rules.bills import complete_days
from whago.errors import WhagoError
from whago.providers.billing import VENDORS, Account, UsageApiFailed, VendorUsage, fetch_usage
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

DAYS_BACK: Final = 3  # vendors correct their figures for a day or two
ASK_AGAIN: Final = timedelta(hours=6)  # for corrections, once all complete days are there
ASK_AFTER_FAILURE: Final = timedelta(minutes=30)
READ_COUNTER_EVERY: Final = timedelta(hours=1)  # and right after each of the vendor's midnights


def reconcile(tools: Tools, now: datetime) -> Counts:
    """Asks every vendor that is due. One that fails does not hold up the others; its page says why."""
    asked = failed = differing = 0
    for one in to_ask(tools.vault, frozenset(VENDORS)):
        days = _due_days(one, now)
        if days is None or tools.stopping.is_set():
            continue
        asked += 1
        try:
            differing += _take(one.billing, _ask(one, days, tools, now), days, tools, now)
        except UsageApiFailed as error:
            failed += 1
            _note_failure(one.billing, str(error), now)
            log.warning("bill.not_asked", provider=str(one.billing.provider_id), problem=error.problem)
        except WhagoError as error:
            if error.code != "not_found":  # deleted meanwhile
                raise
    return {"asked": asked, "failed": failed, "differing": differing}


def account_of(billing: BillingView, credentials: Mapping[str, str]) -> Account:
    """What the vendor's API needs to know of us."""
    return Account(
        preset=billing.preset,
        username=credentials.get("username", ""),
        password=credentials.get("password", ""),
        api_key=credentials.get("api_key", ""),
        name=billing.account,
        api_url=billing.api_url,
        tz=ZoneInfo(billing.usage_tz),
    )


def lag_of(billing: BillingView) -> timedelta:
    """How late the vendor's figures are complete: as the administrator says, else as is known of the vendor."""
    known = VENDORS[billing.preset].lag_min
    return timedelta(minutes=billing.lag_min if billing.lag_min is not None else known)


def _due_days(one: Asking, now: datetime) -> list[date] | None:
    """The days to ask for, none for a counter; None: nothing is due."""
    billing = one.billing
    vendor = VENDORS[billing.preset]
    if not one.credentials.get("api_key") and billing.preset != "oxylabs":
        return None
    age = now - billing.asked_at if billing.asked_at is not None else None
    if billing.last_error is not None and age is not None and age < ASK_AFTER_FAILURE:
        return None
    tz = ZoneInfo(billing.usage_tz)
    if not vendor.has_days:
        has_turned = billing.asked_at is not None and billing.asked_at.astimezone(tz).date() < now.astimezone(tz).date()
        return [] if age is None or age >= READ_COUNTER_EVERY or has_turned else None
    lag = lag_of(billing)
    days = [day for day in complete_days(now, tz, lag=lag, back=DAYS_BACK) if day >= billing.reconcile_from]
    if not days:
        return None
    return days if age is None or age >= ASK_AGAIN or set(days) - one.known_days else None


def _ask(one: Asking, days: list[date], tools: Tools, now: datetime) -> VendorUsage:
    today = now.astimezone(ZoneInfo(one.billing.usage_tz)).date()
    first, last = (days[0], days[-1]) if days else (today, today)
    account = account_of(one.billing, one.credentials)
    return fetch_usage(account, first, last, allow_private=tools.allow_private_upstreams)


def _take(billing: BillingView, usage: VendorUsage, days: list[date], tools: Tools, now: datetime) -> int:
    provider_id: UUID = billing.provider_id
    differing = 0
    if usage.days is not None:
        told = {day: usage.days[day] for day in days if day in usage.days}
        differing = record_vendor_days(
            provider_id, told, source="api", resolution_bytes=usage.resolution_bytes, now=now, tz=tools.tz
        )
    if usage.counter is not None:
        record_reading(
            provider_id, usage.counter.kind, usage.counter.counted_bytes, resolution_bytes=usage.resolution_bytes,
            now=now,
        )  # fmt: skip
    if usage.balance_bytes is not None:
        record_balance(provider_id, usage.balance_bytes, now=now)
    if differing:
        log.warning("bill.differs", provider=str(provider_id), days=differing)
    return differing


def _note_failure(billing: BillingView, sentence: str, now: datetime) -> None:
    try:
        record_api_failure(billing.provider_id, sentence, now=now)
    except WhagoError as error:
        if error.code != "not_found":
            raise
