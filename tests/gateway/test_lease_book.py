"""The lease book by itself: what is asked for, what may be used, who is resumed and who is closed."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.gateway.control import Exhausted, Grant, Wait
from whago.gateway.leases import (
    ANSWER_FRESH_S,
    ENOUGH_FOR_HANDSHAKE,
    LEASE_LINGER_S,
    MAX_LEASE_BYTES,
    MIN_LEASE_BYTES,
    Account,
    LeaseBook,
)

USER, MONTH = UUID(int=1), date(2025, 11, 1)
MB = 1_000_000


class Spender:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def lease_ready(self) -> None:
        self.heard.append("ready")

    def lease_refused(self, reason: str) -> None:
        self.heard.append(reason)


class Case:
    """A book, one account in it, and what it asked for."""

    def __init__(self) -> None:
        self.hungry: list[Account] = []
        self.looks: list[Account] = []
        self.book = LeaseBook(self.hungry.append, self.looks.append)
        self.account = self.book.account(USER, MONTH)
        self.tunnel = Spender()
        self.book.enter(self.account, self.tunnel)

    def grant(self, ceiling: int | None, now: float = 0.0, valid_s: float = 60.0, admits: bool = True) -> None:
        self.book.begin(self.account, now)
        self.book.answer(self.account, Grant(ceiling, admits, valid_s), now, now)

    def spend(self, count: int) -> None:
        """As a tunnel does."""
        self.account.left -= count
        if self.account.left < self.account.low:
            self.book.hunger(self.account)


@pytest.fixture
def case() -> Case:
    return Case()


def test_nothing_may_be_used_before_the_first_answer(case: Case) -> None:
    assert case.account.left == 0
    assert case.book.verdict(case.account, 0.0) is None


def test_a_grant_is_cumulative(case: Case) -> None:
    case.grant(3 * MB)
    case.spend(MB)
    case.grant(5 * MB)
    assert (case.account.left, case.account.spent) == (4 * MB, MB)


def test_it_asks_ahead_once_when_half_is_gone(case: Case) -> None:
    case.grant(4 * MB)
    case.spend(2 * MB)
    assert case.hungry == []
    case.spend(1)
    case.spend(1)
    assert case.hungry == [case.account]


def test_it_asks_for_more_the_faster_bytes_flow(case: Case) -> None:
    case.grant(1 << 40)
    assert case.book.begin(case.account, 100.0) == MIN_LEASE_BYTES
    case.account.asking = False
    case.spend(10 * MB)
    slow = case.book.begin(case.account, 200.0)
    case.account.asking = False
    case.spend(10 * MB)
    fast = case.book.begin(case.account, 210.0)
    case.account.asking = False
    case.spend(1 << 38)
    assert MIN_LEASE_BYTES <= slow < fast < MAX_LEASE_BYTES
    assert case.book.begin(case.account, 211.0) == MAX_LEASE_BYTES


def test_starving_tunnels_make_the_next_lease_greater(case: Case) -> None:
    case.grant(0, now=1.0)
    case.book.starve(case.account, case.tunnel)
    assert case.book.begin(case.account, 1.01) > MIN_LEASE_BYTES


def test_who_starves_is_resumed_by_a_grant(case: Case) -> None:
    case.book.starve(case.account, case.tunnel)
    assert case.hungry == [case.account]
    case.grant(MB)
    assert case.tunnel.heard == ["ready"]
    assert case.account.starved == {}


def test_waiting_keeps_who_starves(case: Case) -> None:
    case.book.starve(case.account, case.tunnel)
    case.book.begin(case.account, 5.0)
    case.book.answer(case.account, Wait(0.5), 5.0, 5.1)
    assert case.tunnel.heard == []
    assert case.account.retry_at == 5.6
    assert case.book.needs_asking(case.account)


def test_exhaustion_ends_everybody_when_nothing_is_left(case: Case) -> None:
    silent = Spender()
    case.book.enter(case.account, silent)
    case.book.starve(case.account, case.tunnel)
    case.book.begin(case.account, 0.0)
    case.book.answer(case.account, Exhausted(), 0.0, 0.0)
    assert case.tunnel.heard == silent.heard == ["quota_exhausted"]


def test_exhaustion_lets_the_last_lease_be_used_up(case: Case) -> None:
    case.grant(MB)
    newcomer = Spender()
    case.account.starved[newcomer] = None
    case.book.begin(case.account, 0.0)
    case.book.answer(case.account, Exhausted(), 0.0, 0.0)
    assert case.account.left == MB
    assert case.tunnel.heard == []
    assert newcomer.heard == ["quota_exhausted"]
    assert case.book.verdict(case.account, 1.0) == "quota_exhausted"
    assert not case.book.needs_asking(case.account)


def test_a_refusal_is_asked_again_after_a_while(case: Case) -> None:
    case.book.begin(case.account, 0.0)
    case.book.answer(case.account, Exhausted(), 0.0, 0.0)
    assert case.book.verdict(case.account, ANSWER_FRESH_S - 0.1) == "quota_exhausted"
    assert case.book.verdict(case.account, ANSWER_FRESH_S + 0.1) is None


def test_running_tunnels_may_go_on_where_new_ones_may_not(case: Case) -> None:
    case.grant(None, admits=False)
    assert case.account.left > 1 << 60
    assert case.book.verdict(case.account, 1.0) == "quota_exhausted"
    case.spend(100 * MB)
    assert case.hungry == []
    assert not case.book.needs_asking(case.account)


def test_from_unlimited_to_a_limit_that_is_passed_already(case: Case) -> None:
    case.grant(None)
    case.spend(10 * MB)
    case.grant(8 * MB)
    assert case.account.left <= 0
    assert case.account.spent == 10 * MB


def test_a_lapsed_lease_cannot_be_used_and_a_new_grant_revives_it(case: Case) -> None:
    case.grant(5 * MB, now=0.0, valid_s=10.0)
    case.spend(MB)
    assert case.book.alarm == 10.0
    case.book.lapse(9.9)
    assert case.account.left == 4 * MB
    case.book.lapse(10.0)
    assert (case.account.left, case.account.spent) == (0, MB)
    assert case.book.verdict(case.account, 10.0) is None
    case.grant(6 * MB, now=20.0)
    assert (case.account.left, case.account.spent) == (5 * MB, MB)


def test_a_committed_report_renews_from_when_it_was_sent(case: Case) -> None:
    case.grant(5 * MB, now=0.0, valid_s=10.0)
    case.book.renewed(7.0)
    assert case.book.alarm == 17.0
    case.book.lapse(16.9)
    assert case.account.left == 5 * MB
    case.book.lapse(17.0)
    assert case.account.left == 0


def test_a_recall_holds_the_lease_until_it_is_given_back(case: Case) -> None:
    case.grant(5 * MB)
    case.spend(MB)
    case.book.recall([case.account])
    assert case.account.left == 4 * MB
    assert case.book.take_releases(0.0) == [case.account]
    assert case.account.left == 0
    case.book.starve(case.account, case.tunnel)
    assert case.hungry == []
    case.book.released([case.account])
    assert case.account.ceiling == case.account.spent == MB
    assert case.hungry == [case.account]


def test_after_a_recall_a_silent_tunnel_does_not_ask_for_bytes(case: Case) -> None:
    """Else the gateways would take the last of the quota from one another in turn."""
    case.grant(5 * MB)
    case.book.recall([case.account])
    case.book.released(case.book.take_releases(0.0))
    assert case.hungry == []
    assert case.looks == [case.account]
    assert case.book.needs_look(case.account)
    assert case.book.begin(case.account, 1.0, look=True) == 0


def test_a_recall_waits_for_the_question_under_way(case: Case) -> None:
    """The answer may be older than the release and would count as held what was given back."""
    case.grant(5 * MB)
    case.book.begin(case.account, 1.0)
    case.book.recall([case.account])
    assert case.book.take_releases(1.0) == []
    case.book.answer(case.account, Grant(9 * MB, True, 60.0), 1.0, 1.1)
    assert case.book.take_releases(1.2) == [case.account]


def test_an_answer_older_than_the_recall_does_not_exhaust(case: Case) -> None:
    case.book.starve(case.account, case.tunnel)
    case.book.begin(case.account, 1.0)
    case.book.recall([case.account])
    case.book.answer(case.account, Exhausted(), 1.0, 1.1)
    assert case.tunnel.heard == []
    case.book.released(case.book.take_releases(1.2))
    assert case.hungry[-1] is case.account


def test_an_idle_account_is_given_back_after_a_while(case: Case) -> None:
    case.grant(5 * MB)
    case.book.leave(case.account, case.tunnel, 100.0)
    assert case.book.take_releases(100.0 + LEASE_LINGER_S - 0.1) == []
    assert case.book.take_releases(100.0 + LEASE_LINGER_S) == [case.account]
    assert case.book.take_releases(200.0) == []


def test_a_returning_tunnel_keeps_the_lease(case: Case) -> None:
    case.grant(5 * MB)
    case.book.leave(case.account, case.tunnel, 100.0)
    case.book.enter(case.account, case.tunnel)
    assert case.book.take_releases(200.0) == []
    assert case.book.verdict(case.account, 200.0) == ""


def test_too_little_for_a_handshake_is_not_enough(case: Case) -> None:
    case.grant(ENOUGH_FOR_HANDSHAKE - 1)
    assert case.book.verdict(case.account, 0.0) is None


@given(st.lists(st.tuples(st.sampled_from(["grant", "spend", "lapse", "recall", "renew"]), st.integers(0, 3 * MB))))
def test_a_boot_never_spends_past_what_it_was_granted(steps: list[tuple[str, int]]) -> None:
    case = Case()
    now, granted, spent = 0.0, 0, 0
    for step, size in steps:
        now += 1.0
        match step:
            case "grant":
                granted = max(granted, spent) + size
                case.grant(granted, now=now, valid_s=5.0)
            case "spend":
                take = min(size, max(case.account.left, 0))
                case.spend(take)
                spent += take
            case "lapse":
                case.book.lapse(now)
            case "renew":
                case.book.renewed(now)
            case _:
                case.book.recall([case.account])
                case.book.released(case.book.take_releases(now))
                granted = spent
        assert case.account.spent == spent <= granted
        assert case.account.left <= granted - spent
