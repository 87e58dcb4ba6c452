"""How a proxy is scored, whom a failure speaks against, and when a proxy goes out and comes back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.health import (
    EJECT_AFTER,
    EJECTION_MAX_S,
    FORGIVEN_AFTER,
    HALF_LIFE_S,
    Blame,
    Eject,
    Evidence,
    Return,
    Standing,
    Term,
    blame,
    decayed,
    eject,
    in_panic,
    judge,
    provider_median,
    score_of,
    session_share,
    terms,
)
from whago.gateway.protocol.refusal import REFUSALS

NOW = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)
PROXY = UUID(int=7)


def scored(median_ms: float | None = None, now: datetime = NOW, **evidence: object) -> tuple[int, dict[str, Term]]:
    parts = terms(Evidence(**evidence), median_ms=median_ms, now=now)  # type: ignore[arg-type]
    return score_of(parts), {term.code: term for term in parts}


@pytest.mark.parametrize("status", [500, 502, 503, 504, 522, 525, 490, 0])
def test_an_upstream_that_fails_speaks_against_the_proxy(status: int) -> None:
    assert blame("upstream_refused", status) is Blame.PROXY


@pytest.mark.parametrize("reason", ["upstream_timeout", "upstream_unreachable", "upstream_protocol"])
def test_no_connection_and_no_sense_speak_against_the_proxy(reason: str) -> None:
    assert blame(reason) is Blame.PROXY


@pytest.mark.parametrize(("reason", "status"), [("upstream_auth_failed", 407), ("upstream_refused", 402)])
def test_a_credential_or_a_balance_speaks_against_the_account(reason: str, status: int) -> None:
    assert blame(reason, status) is Blame.ACCOUNT


@pytest.mark.parametrize("status", [403, 451, 2, 5])
def test_a_refused_target_speaks_against_the_target(status: int) -> None:
    assert blame("upstream_refused", status) is Blame.TARGET


@pytest.mark.parametrize("reply", [1, 3, 4, 6])
def test_a_socks_reply_about_the_way_speaks_against_the_proxy(reply: int) -> None:
    assert blame("upstream_refused", reply) is Blame.PROXY


def test_what_is_the_client_s_or_ours_speaks_against_nobody() -> None:
    ours = set(REFUSALS) - {
        "upstream_refused",
        "upstream_auth_failed",
        "upstream_protocol",
        "upstream_unreachable",
        "upstream_timeout",
    }
    assert {"quota_exhausted", "quota_busy", "host_not_allowed", "bad_credential", "too_many_tunnels"} <= ours
    assert {blame(reason) for reason in ours | {"client_reset", "client_gone"}} == {Blame.NOBODY}


def test_an_unknown_proxy_is_perfect() -> None:
    score, parts = scored()
    assert score == 100
    assert {term.points for term in parts.values()} == {0}


def test_failures_cost_their_share_and_one_alone_not_all() -> None:
    assert scored(bad_weight=1.0)[0] == 67
    assert scored(bad_weight=3.0)[0] == 40
    assert scored(ok_weight=97.0, bad_weight=1.0)[0] == 99


def test_a_failure_counts_half_after_the_half_life_and_is_forgotten_in_the_end() -> None:
    assert decayed(8.0, NOW - timedelta(seconds=HALF_LIFE_S), NOW) == pytest.approx(4.0)
    later = NOW + timedelta(seconds=HALF_LIFE_S * 12)
    assert scored(bad_weight=5.0, weighed_at=NOW, now=later)[0] == 100


def test_a_clock_that_goes_back_makes_nothing_heavier() -> None:
    assert decayed(8.0, NOW, NOW - timedelta(hours=1)) == 8.0


def test_latency_is_measured_against_the_provider_s_median_and_explained() -> None:
    score, parts = scored(latency_ms=2100, median_ms=1000.0)
    assert score == 88
    assert parts["latency"] == Term("latency", -12, {"ratio": 2.1, "latency_ms": 2100, "median_ms": 1000})
    assert scored(latency_ms=1500, median_ms=1000.0)[0] == 100


def test_a_slow_proxy_is_never_ejected_for_that_alone() -> None:
    score, _ = scored(latency_ms=90_000, median_ms=100.0)
    assert score == 70
    assert judge(Standing(score, 0), proxy_id=PROXY, now=NOW) is None


def test_two_measured_proxies_are_no_median() -> None:
    assert provider_median([100, 900]) is None
    assert provider_median([100, 300, 900]) == 300


def test_silent_changes_of_the_exit_ip_count_per_chip() -> None:
    assert scored(ip_changes=1, chips=1)[0] == 80
    assert scored(ip_changes=1, chips=20)[0] == 99
    assert scored(ip_changes=900, chips=3)[0] == 80


@given(
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.none() | st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_a_score_is_always_within_its_range_and_is_the_sum_of_its_terms(
    ok: float, bad: float, latency: int | None, changes: int, chips: int
) -> None:
    score, parts = scored(
        median_ms=120.0, ok_weight=ok, bad_weight=bad, latency_ms=latency, ip_changes=changes, chips=chips
    )
    assert 0 <= score <= 100
    assert score == max(0, 100 + sum(term.points for term in parts.values()))
    assert all(term.points <= 0 for term in parts.values())


def test_three_failures_in_a_row_eject_whatever_the_score() -> None:
    assert judge(Standing(99, EJECT_AFTER - 1), proxy_id=PROXY, now=NOW) is None
    assert isinstance(judge(Standing(99, EJECT_AFTER), proxy_id=PROXY, now=NOW), Eject)


def test_a_score_below_the_line_ejects() -> None:
    assert judge(Standing(40, 0), proxy_id=PROXY, now=NOW) is None
    assert isinstance(judge(Standing(39, 0), proxy_id=PROXY, now=NOW), Eject)


def test_each_further_ejection_is_longer_up_to_a_bound() -> None:
    standing, lasted = Standing(10, 5), []
    for _ in range(15):
        decision = eject(standing, proxy_id=PROXY, now=NOW)
        lasted.append((decision.until - NOW).total_seconds())
        standing = replace(standing, ejected_until=NOW, ejections=decision.times)
    assert all(24 * times <= seconds <= 36 * times for times, seconds in enumerate(lasted[:8], start=1))
    assert max(lasted) == lasted[-1] == EJECTION_MAX_S


def test_proxies_that_fell_together_do_not_come_back_together() -> None:
    untils = {eject(Standing(10, 5), proxy_id=UUID(int=number), now=NOW).until for number in range(50)}
    assert len(untils) > 40
    assert max(untils) - min(untils) > timedelta(seconds=6)


def test_a_proxy_that_was_in_for_long_begins_with_the_first_step_again() -> None:
    recent = Standing(10, 5, ejections=4, returned_at=NOW - timedelta(minutes=1))
    assert eject(recent, proxy_id=PROXY, now=NOW).times == 5
    assert eject(replace(recent, returned_at=NOW - FORGIVEN_AFTER * 2), proxy_id=PROXY, now=NOW).times == 1


def test_before_its_time_nothing_brings_it_back() -> None:
    assert judge(Standing(100, 0, NOW + timedelta(seconds=1), 1), proxy_id=PROXY, now=NOW) is None


def test_on_trial_it_returns_above_sixty_and_only_after_a_success() -> None:
    on_trial = Standing(61, 0, NOW, 1)
    assert judge(on_trial, proxy_id=PROXY, now=NOW) == Return()
    assert judge(replace(on_trial, score=60), proxy_id=PROXY, now=NOW) is None
    assert judge(replace(on_trial, streak=3), proxy_id=PROXY, now=NOW) is None


def test_one_dead_session_of_many_is_not_the_proxy_s_death() -> None:
    assert [session_share(chips) for chips in (0, 1, 2, 3, 200)] == [3, 3, 2, 1, 1]


def test_a_panic_begins_when_more_than_half_is_out() -> None:
    assert not in_panic(0, 0)
    assert not in_panic(1, 2)
    assert in_panic(2, 3)
    assert in_panic(1, 1)


def test_what_nobody_uses_does_not_calm_a_panic() -> None:
    assert in_panic(1, 300, used_out=1, used=1)
    assert not in_panic(1, 300, used_out=1, used=2)
