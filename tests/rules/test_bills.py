"""A vendor's bill beside ours, days of another zone, and the line through known transfers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.bills import Comparison, Ours, Verdict, compare, complete_days, cost_of, day_bounds
from whago.domain.rules.calibration import NoFit, Step, fit

GB = 10**9


def compared(vendor: int, chips: int = 100_000_000, house: int = 0, **changed: object) -> Comparison:
    values: dict[str, object] = {
        "overhead_per_tunnel": 0,
        "threshold_percent": Decimal(2),
        "resolution_bytes": 1,
        "cost_per_gb": Decimal(25),
        "bytes_per_gb": GB,
    } | changed
    tunnels = int(str(values.pop("tunnels", 0)))
    return compare(vendor, Ours(chips, house, tunnels), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vendor", "verdict"),
    [
        (100_000_000, Verdict.AGREES),
        (102_000_000, Verdict.AGREES),
        (102_000_001, Verdict.DIFFERS),
        (103_000_000, Verdict.DIFFERS),
        (98_000_000, Verdict.AGREES),
        (97_999_999, Verdict.DIFFERS),
        (0, Verdict.DIFFERS),
    ],
)
def test_a_difference_past_the_threshold_counts_in_either_direction(vendor: int, verdict: Verdict) -> None:
    assert compared(vendor).verdict is verdict


def test_the_difference_is_told_in_bytes_percent_and_money() -> None:
    found = compared(103_000_000)
    assert (found.difference_bytes, found.difference_percent) == (3_000_000, Decimal("3.000"))
    assert found.difference_cost == Decimal("0.075")
    assert compared(97_000_000).difference_cost == Decimal("-0.075")


def test_what_the_house_moved_is_expected_on_the_bill_too() -> None:
    assert compared(103_000_000, house=3_000_000).verdict is Verdict.AGREES


def test_a_calibrated_overhead_explains_its_part() -> None:
    found = compared(104_000_000, overhead_per_tunnel=400, tunnels=10_000)
    assert (found.expected_bytes, found.verdict) == (104_000_000, Verdict.AGREES)


def test_traffic_that_nobody_metered_here_is_a_difference() -> None:
    found = compared(5_000_000, chips=0)
    assert (found.difference_percent, found.verdict) == (None, Verdict.DIFFERS)


def test_a_day_with_next_to_nothing_is_not_judged() -> None:
    assert compared(900_000, chips=500_000).verdict is Verdict.UNJUDGED


def test_a_coarse_counter_says_nothing_about_a_small_difference() -> None:
    assert compared(200_000_000, resolution_bytes=100_000_000).verdict is Verdict.UNJUDGED
    assert compared(400_000_000, resolution_bytes=100_000_000).verdict is Verdict.DIFFERS
    assert compared(101_000_000, resolution_bytes=100_000_000).verdict is Verdict.AGREES


@given(moved=st.integers(-(10**15), 10**15), price=st.decimals(0, 1000, places=6))
def test_money_is_exact(moved: int, price: Decimal) -> None:
    assert cost_of(moved, price, GB) == (Decimal(moved) * price).scaleb(-9)


def test_a_vendors_day_is_a_day_of_its_own_zone() -> None:
    day = date(2026, 11, 15)
    assert day_bounds(day, ZoneInfo("UTC")) == (datetime(2026, 11, 15, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC))
    begins, ends = day_bounds(day, ZoneInfo("America/Sao_Paulo"))
    assert begins == datetime(2026, 11, 15, 3, tzinfo=UTC)
    assert ends - begins == timedelta(days=1)
    begins, ends = day_bounds(date(2026, 3, 29), ZoneInfo("Europe/Vilnius"))
    assert ends - begins == timedelta(hours=23)


def test_a_day_is_complete_when_it_and_the_vendors_delay_are_over() -> None:
    zone, lag = ZoneInfo("UTC"), timedelta(hours=1)
    before, after = datetime(2026, 11, 16, 0, 59, tzinfo=UTC), datetime(2026, 11, 16, 1, 0, tzinfo=UTC)
    assert complete_days(before, zone, lag=lag, back=2) == [date(2026, 11, 13), date(2026, 11, 14)]
    assert complete_days(after, zone, lag=lag, back=2) == [date(2026, 11, 14), date(2026, 11, 15)]


def measured(scale: float, overhead: int, noise: tuple[int, ...] = (0, 0, 0, 0, 0)) -> list[Step]:
    batches = ((1_050_000, 1), (60_000, 40), (1_080_000, 2), (250_000, 40), (2_090_000, 1))
    return [
        Step(wire, tunnels, int(scale * (wire + overhead * tunnels)) + off)
        for (wire, tunnels), off in zip(batches, noise, strict=True)
    ]


@pytest.mark.parametrize(("scale", "overhead"), [(1, 0), (1, 512), (1, 40)])
def test_the_line_finds_what_a_vendor_adds_to_each_tunnel(scale: float, overhead: int) -> None:
    found = fit(measured(scale, overhead), bytes_per_gb=GB)
    assert found.is_known
    assert (found.bytes_per_gb, found.scale) == (GB, Decimal("1.000000"))
    assert abs(found.overhead_bytes - overhead) <= 1
    assert found.residual_percent < 1


def test_the_line_finds_the_size_of_a_gb() -> None:
    smaller = fit(measured(10**9 / 2**30, 0), bytes_per_gb=GB)
    assert (smaller.bytes_per_gb, smaller.is_known) == (2**30, True)
    assert fit(measured(2**30 / 10**9, 0), bytes_per_gb=2**30).bytes_per_gb == GB


def test_a_scale_that_no_size_explains_is_told_and_not_known() -> None:
    found = fit(measured(1.03, 0), bytes_per_gb=GB)
    assert not found.is_known
    assert abs(found.bytes_per_gb - round(GB / 1.03)) < GB / 1000


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        (measured(1, 0)[:3], "too_few"),
        ([Step(1_000 * n, n, 1_000 * n) for n in range(1, 6)], "degenerate"),
        (measured(4, 0), "scale_nonsense"),
        (measured(0.1, 0), "scale_nonsense"),
        (measured(1, 100_000), "overhead_nonsense"),
        (measured(1, -900), "overhead_nonsense"),
        (measured(1, 0, (300_000, -200_000, 0, 250_000, -300_000)), "no_line"),
        ([Step(0, 0, 0)] * 5, "degenerate"),
    ],
)
def test_nonsense_is_refused_by_name(steps: list[Step], problem: str) -> None:
    with pytest.raises(NoFit) as refused:
        fit(steps, bytes_per_gb=GB)
    assert refused.value.problem == problem
