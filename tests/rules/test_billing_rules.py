"""Months, prices and thresholds: pure rules of the bill."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.months import (
    billing_month,
    month_progress,
    month_start,
    next_month,
    previous_month,
    usage_hour,
)
from whago.domain.rules.pricing import gb, limit_bytes
from whago.domain.rules.thresholds import OnLimit, QuotaState, is_spent, is_warned, percentage, quota_state

ZONES = [
    ZoneInfo(name)
    for name in ("America/Sao_Paulo", "UTC", "Asia/Kolkata", "Asia/Kathmandu", "Pacific/Auckland", "America/New_York")
]
MOMENTS = st.integers(946_684_800, 4_102_444_800).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
COUNTS = st.integers(0, 10**15)


def test_a_month_begins_at_midnight_in_the_billing_zone() -> None:
    tz = ZoneInfo("America/Sao_Paulo")
    assert billing_month(datetime(2026, 12, 1, 2, 59, 59, tzinfo=UTC), tz) == date(2026, 11, 1)
    assert billing_month(datetime(2026, 12, 1, 3, 0, tzinfo=UTC), tz) == date(2026, 12, 1)
    assert month_start(date(2026, 12, 1), tz) == datetime(2026, 12, 1, 3, 0, tzinfo=UTC)


@given(MOMENTS, st.sampled_from(ZONES))
def test_an_hour_holds_its_moment_and_never_crosses_a_months_end(moment: datetime, tz: ZoneInfo) -> None:
    hour = usage_hour(moment, tz)
    assert timedelta() <= moment - hour < timedelta(hours=1)
    assert billing_month(hour, tz) == billing_month(moment, tz)
    assert usage_hour(hour, tz) == hour


@given(MOMENTS, st.sampled_from(ZONES))
def test_months_follow_one_another(moment: datetime, tz: ZoneInfo) -> None:
    month = billing_month(moment, tz)
    assert previous_month(next_month(month)) == month
    assert month_start(month, tz) <= moment < month_start(next_month(month), tz)
    assert 0 < month_progress(moment, tz) <= 1


def test_limits_in_bytes() -> None:
    assert limit_bytes(None) is None
    assert limit_bytes(Decimal("0.1")) == 100_000_000
    assert gb(1_500_000_000) == 1.5


@pytest.mark.parametrize(
    ("used", "limit", "on_limit", "state"),
    [
        (0, None, OnLimit.BLOCK, QuotaState.OK),
        (10**15, None, OnLimit.BLOCK, QuotaState.OK),
        (0, 0, OnLimit.BLOCK, QuotaState.BLOCKED),
        (799_999, 10**6, OnLimit.BLOCK, QuotaState.OK),
        (800_000, 10**6, OnLimit.BLOCK, QuotaState.WARNING),
        (10**6 - 1024, 10**6, OnLimit.BLOCK, QuotaState.WARNING),
        (10**6 - 1023, 10**6, OnLimit.BLOCK, QuotaState.BLOCKED),
        (10**6, 10**6, OnLimit.BLOCK_NEW, QuotaState.BLOCKED),
        (10**7, 10**6, OnLimit.BILL, QuotaState.WARNING),
    ],
)
def test_states(used: int, limit: int | None, on_limit: OnLimit, state: QuotaState) -> None:
    assert quota_state(used, limit, on_limit) is state


@given(COUNTS, st.integers(1, 10**15))
def test_spent_is_always_warned_too(used: int, limit: int) -> None:
    if is_spent(used, limit) and limit > 10_000:
        assert is_warned(used, limit)
    assert percentage(limit, limit) == 100.0
