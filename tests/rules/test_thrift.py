"""What a chip does to spare bytes, and what a quiet one costs."""

from __future__ import annotations

import pytest

from whago.domain.rules.thrift import KEEP_ALIVE_MAX_S, KEEP_ALIVE_MIN_S, Thrift, quiet_month_bytes, thrift_of


def test_only_what_differs_from_the_default_is_kept() -> None:
    assert Thrift().kept() == {}
    assert Thrift("recent", 45, status_posts=True).kept() == {
        "history": "recent",
        "keep_alive_s": 45,
        "status_posts": True,
    }


def test_what_was_kept_comes_back_and_what_is_unknown_is_left_out() -> None:
    assert thrift_of({}) == Thrift()
    assert thrift_of({"keep_alive_s": 60, "of_a_newer_version": 1}) == Thrift(keep_alive_s=60)


def test_a_quiet_chip_costs_about_twelve_megabytes_a_month() -> None:
    assert quiet_month_bytes(30) == 86_400 * 135 + 60 * 6_400


@pytest.mark.parametrize(("seconds", "more"), [(KEEP_ALIVE_MIN_S, True), (KEEP_ALIVE_MAX_S, False)])
def test_rarer_pings_cost_less(seconds: int, more: bool) -> None:
    assert (quiet_month_bytes(seconds) > quiet_month_bytes(30)) is more
