"""Laws of alerts: what a channel wants, quiet hours, spikes, projections, retries."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.channels import QuietHours, Wishes, extra_thresholds, passed_threshold
from whago.domain.rules.delivering import (
    DISABLE_AFTER,
    DISABLE_AFTER_FAILURES,
    GIVE_UP_AFTER,
    JITTER,
    RETRY_MAX_S,
    gives_up,
    is_hopeless,
    retry_at,
)
from whago.domain.rules.projection import may_exceed, projected_bytes, will_last
from whago.domain.rules.spikes import FLOOR_COST, TIMES_USUAL, spike_line

NOW = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
DELIVERY = UUID("12345678-1234-4234-8234-123456789abc")


def at(day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=SAO_PAULO)


def test_a_channel_wants_its_kinds_and_of_the_quota_its_thresholds() -> None:
    wishes = Wishes(["quota_warning", "provider_down"], [50, 100])
    assert wishes.want("provider_down", {})
    assert not wishes.want("proxy_ejected", {})
    assert wishes.want("quota_warning", {"threshold": 50})
    assert not wishes.want("quota_warning", {})  # 80, which was not asked for
    assert not wishes.want("quota_exhausted", {})  # 100, but not this kind
    assert Wishes(None, [80, 100]).want("anything new", {})


def test_the_traffic_watches_what_any_channel_wants_beside_80_and_100() -> None:
    assert extra_thresholds([[80, 100], [50, 80], [95]]) == [50, 95]
    assert extra_thresholds([[80], []]) is None


@given(
    used=st.integers(0, 3_000),
    told=st.integers(0, 200),
    extra=st.lists(st.integers(1, 200), max_size=5),
)
def test_a_passed_threshold_is_reached_new_and_the_highest(used: int, told: int, extra: list[int]) -> None:
    found = passed_threshold(used, 1_000, extra, told)
    reached = [one for one in extra if used * 100 >= one * 1_000 and one > told]
    assert found == max(reached, default=0)


@pytest.mark.parametrize(
    ("begins", "ends", "local", "over"),
    [
        ((22, 0), (7, 0), at(15, 21, 59), None),
        ((22, 0), (7, 0), at(15, 22, 0), at(16, 7, 0)),
        ((22, 0), (7, 0), at(16, 6, 59), at(16, 7, 0)),
        ((22, 0), (7, 0), at(16, 7, 0), None),
        ((12, 0), (14, 0), at(15, 13, 0), at(15, 14, 0)),
        ((12, 0), (14, 0), at(15, 14, 0), None),
        ((9, 0), (9, 0), at(15, 9, 0), None),
    ],
)
def test_quiet_hours_end_at_their_end(
    begins: tuple[int, int], ends: tuple[int, int], local: datetime, over: datetime | None
) -> None:
    quiet = QuietHours(time(*begins), time(*ends), SAO_PAULO)
    assert quiet.over_at(local) == (over or local)


def test_quiet_hours_are_those_of_the_wall_clock_when_it_is_set_forward() -> None:
    """Lisbon, 2026-03-29: 01:00 becomes 02:00."""
    quiet = QuietHours(time(22), time(7), ZoneInfo("Europe/Lisbon"))
    assert quiet.over_at(datetime(2026, 3, 29, 0, 30, tzinfo=UTC)) == datetime(2026, 3, 29, 6, 0, tzinfo=UTC)


def costs(*amounts: str) -> list[Decimal]:
    return [Decimal(amount) for amount in amounts]


def test_a_spike_is_far_above_the_chips_own_days() -> None:
    line = spike_line(costs("1", "1.1", "0.9", "1", "1.2"))
    assert line is not None
    assert line.usual == Decimal(1)
    assert line.line == Decimal(TIMES_USUAL)
    assert line.calm < line.line


def test_a_chip_whose_days_differ_wildly_needs_more_for_a_spike() -> None:
    steady, wild = spike_line(costs("5", "5", "5", "5", "5")), spike_line(costs("1", "9", "5", "2", "8"))
    assert steady is not None
    assert wild is not None
    assert wild.line > steady.line


def test_one_bad_day_in_the_past_does_not_hide_the_next() -> None:
    with_outlier = spike_line(costs("1", "1.1", "0.9", "1", "500"))
    assert with_outlier is not None
    assert with_outlier.line < Decimal(5)


def test_small_money_and_young_chips_are_no_spikes() -> None:
    cheap = spike_line(costs("0.01", "0.01", "0.01"))
    assert cheap is not None
    assert cheap.line == FLOOR_COST
    assert spike_line(costs("1", "1")) is None


def test_a_projection_is_told_late_enough_and_only_below_the_limit() -> None:
    assert projected_bytes(600, 0.5) == 1200
    assert may_exceed(600, 1000, 0.5)
    assert not may_exceed(500, 1000, 0.5)
    assert not may_exceed(90, 1000, 0.05)  # one busy day
    assert not may_exceed(1000, 1000, 0.5)  # that is news of another kind
    assert not may_exceed(600, None, 0.5)
    assert not will_last(490, 1000, 0.5)
    assert will_last(470, 1000, 0.5)


def test_retries_wait_longer_and_longer_up_to_six_hours() -> None:
    waits = [(retry_at(DELIVERY, attempt, NOW) - NOW).total_seconds() for attempt in range(1, 12)]
    assert waits[:7] == sorted(waits[:7])
    assert all(wait <= RETRY_MAX_S * (1 + JITTER) for wait in waits)
    assert retry_at(DELIVERY, 1, NOW, retry_after_s=120) == NOW + timedelta(seconds=120)


@given(st.uuids(), st.integers(1, 20))
def test_the_jitter_is_the_same_for_the_same_attempt_and_within_its_bounds(delivery: UUID, attempt: int) -> None:
    wait = retry_at(delivery, attempt, NOW) - NOW
    assert wait == retry_at(delivery, attempt, NOW) - NOW
    middle = min(10 * 3.0 ** (attempt - 1), RETRY_MAX_S)
    assert middle * (1 - JITTER) <= wait.total_seconds() <= middle * (1 + JITTER)


def test_it_gives_up_after_days_and_switches_off_after_many_failures_and_an_hour() -> None:
    assert not gives_up(NOW, NOW + GIVE_UP_AFTER)
    assert gives_up(NOW, NOW + GIVE_UP_AFTER + timedelta(seconds=1))
    assert not is_hopeless(DISABLE_AFTER_FAILURES, NOW, NOW + DISABLE_AFTER - timedelta(seconds=1))
    assert not is_hopeless(DISABLE_AFTER_FAILURES - 1, NOW, NOW + DISABLE_AFTER)
    assert is_hopeless(DISABLE_AFTER_FAILURES, NOW, NOW + DISABLE_AFTER)
