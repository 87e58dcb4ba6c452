"""What reports derive from bytes, costs and prices. Amounts are exact; a customer's month rounds once, to cents."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from whago.domain.rules.months import billing_month, month_start, next_month
from whago.domain.rules.projection import FLOOR
from whago.kit.money import EXACT, cents

PERCENT_STEP: Final = Decimal("0.1")


def billed(cost: Decimal) -> Decimal:
    """A customer's month as it is billed: the only place where it is rounded."""
    return cents(cost)


def margin(price: Decimal, cost: Decimal) -> Decimal:
    """What is left of a plan's price when the month's traffic is paid."""
    return price - billed(cost)


def margin_percent(price: Decimal, cost: Decimal) -> Decimal | None:
    """The margin as a share of the price; None when nothing is paid."""
    if price <= 0:
        return None
    share = EXACT.divide(margin(price, cost) * 100, price)
    return share.quantize(PERCENT_STEP, context=EXACT)


def share_passed(month: date, *, now: datetime, tz: ZoneInfo) -> Decimal | None:
    """How much of the running month has passed, above 0 and at most 1; None for any other month."""
    if billing_month(now, tz) != month:
        return None
    start, end = month_start(month, tz), month_start(next_month(month), tz)
    passed, whole = max(now - start, FLOOR), end - start
    return EXACT.divide(Decimal(passed // _MICROSECOND), Decimal(whole // _MICROSECOND))


def projected(amount: Decimal, passed: Decimal | None) -> Decimal:
    """What the month comes to when it goes on as so far; what it came to when it is over."""
    return amount if passed is None else EXACT.divide(amount, passed)


_MICROSECOND: Final = datetime.resolution
