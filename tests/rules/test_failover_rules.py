"""When a chip's exit is gone, and the rungs of its way out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from whago.domain.rules.failover import COOL_DOWN, Plight, Position, Step, is_gone, patience, way_out
from whago.domain.rules.selection import Candidate, choose_proxy

NOW = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)
GRACE = timedelta(seconds=30)
A, B = UUID(int=101), UUID(int=102)


def a_proxy(number: int, provider: UUID = A, **fields: Any) -> Candidate:
    values: dict[str, Any] = {
        "proxy_id": UUID(int=number),
        "provider_id": provider,
        "priority": 1 if provider == A else 2,
        "region": None,
        "proxy_type": "rotating",
        "health_score": 100,
        "active_chips": 1,
        "max_chips": None,
    }
    return Candidate(**(values | fields))


HERE = Position(UUID(int=1), A, None, "created", has_worked=True)


def way(*pool: Candidate, **changes: Any) -> tuple[Step, int] | None:
    found = way_out(pool, replace(HERE, **changes))
    return None if found is None else (found[0], found[1].proxy_id.int)


def gone(**fields: Any) -> bool:
    values: dict[str, Any] = {"failures": 5, "refusals": 0, "failing_since": NOW - GRACE}
    return is_gone(Plight(**(values | fields)), grace=GRACE, now=NOW)


def test_a_session_is_held_for_the_grace() -> None:
    assert gone()
    assert not gone(failing_since=NOW - GRACE + timedelta(seconds=1))
    assert not gone(failing_since=None)


def test_one_failure_is_a_hiccup_unless_its_proxy_is_out() -> None:
    assert not gone(failures=1)
    assert gone(failures=1, proxy_is_out=True)


def test_refusals_count_only_while_the_account_is_known_to_be_in_trouble() -> None:
    assert not gone(failures=0, refusals=50)
    assert gone(failures=0, refusals=1, provider_in_trouble=True)


def test_each_move_makes_the_next_one_wait_longer() -> None:
    waits = [patience(GRACE, moves) for moves in range(9)]
    assert waits[:4] == [GRACE, GRACE, GRACE * 2, GRACE * 4]
    assert waits[-1] == waits[-2] == GRACE * 16
    assert patience(timedelta(0), 1) == COOL_DOWN


def test_the_first_rung_is_a_new_session_on_the_same_proxy() -> None:
    assert way(a_proxy(1), a_proxy(2), a_proxy(3, B)) == (Step.NEW_SESSION, 1)


def test_its_own_place_on_a_full_proxy_is_free_for_its_new_session() -> None:
    assert way(a_proxy(1, max_chips=1)) == (Step.NEW_SESSION, 1)


def test_a_proxy_that_is_out_or_drains_gets_no_new_session() -> None:
    for state in ({"is_out": True}, {"is_draining": True}, {"health_score": 39}):
        assert way(a_proxy(1, **state), a_proxy(2), a_proxy(3, B)) == (Step.ANOTHER_PROXY, 2)


def test_a_static_proxy_has_no_other_session() -> None:
    assert way(a_proxy(1, proxy_type="static"), a_proxy(2, proxy_type="static", active_chips=0)) == (
        Step.ANOTHER_PROXY,
        2,
    )


def test_the_next_provider_by_priority_comes_last() -> None:
    third = a_proxy(4, UUID(int=103), priority=9)
    assert way(a_proxy(1, is_out=True), third, a_proxy(3, B)) == (Step.NEXT_PROVIDER, 3)


def test_a_rung_that_did_not_hold_is_not_tried_again_first() -> None:
    pool = (a_proxy(1), a_proxy(2), a_proxy(3, B))
    assert way(*pool, assign_reason=Step.NEW_SESSION, has_worked=False) == (Step.ANOTHER_PROXY, 2)
    assert way(*pool, assign_reason=Step.ANOTHER_PROXY, has_worked=False) == (Step.NEXT_PROVIDER, 3)
    assert way(*pool, assign_reason=Step.NEXT_PROVIDER, has_worked=False) == (Step.NEXT_PROVIDER, 3)
    assert way(*pool, assign_reason=Step.NEW_SESSION, has_worked=True) == (Step.NEW_SESSION, 1)


def test_where_nothing_is_higher_the_ladder_begins_anew() -> None:
    assert way(a_proxy(1), assign_reason=Step.NEW_SESSION, has_worked=False) == (Step.NEW_SESSION, 1)


def test_the_region_is_kept_before_the_priority_of_providers() -> None:
    south, north = a_proxy(3, B, region="sul"), a_proxy(4, UUID(int=103), region="norte", priority=9)
    assert way(a_proxy(1, is_out=True), south, north, region="norte") == (Step.NEXT_PROVIDER, 4)
    assert way(a_proxy(1, is_out=True), south, region="norte") == (Step.NEXT_PROVIDER, 3)


def test_without_a_usable_proxy_the_chip_is_held() -> None:
    assert way(a_proxy(1, is_out=True), a_proxy(2, is_draining=True), a_proxy(3, B, max_chips=1)) is None
    assert way() is None


def spread(pool: list[Candidate], chips: int) -> Counter[int]:
    """Assigns one after the other, as the lock makes it."""
    got: Counter[int] = Counter()
    for _ in range(chips):
        chosen = choose_proxy(pool, region=None)
        assert chosen is not None
        got[chosen.proxy_id.int] += 1
        pool = [replace(one, active_chips=one.active_chips + (one is chosen)) for one in pool]
    return got


def empty(number: int, **fields: Any) -> Candidate:
    return a_proxy(number, active_chips=0, priority=1, **fields)


def test_chips_do_not_stampede_onto_one_of_equals() -> None:
    assert spread([empty(1), empty(2), empty(3), empty(4)], 200) == {1: 50, 2: 50, 3: 50, 4: 50}


def test_a_little_more_health_does_not_draw_them_all() -> None:
    got = spread([empty(1, health_score=100), empty(2, health_score=95)], 200)
    assert got[1] > got[2] > 50


def test_chips_go_where_there_is_room_for_them() -> None:
    assert spread([empty(1, max_chips=150), empty(2, max_chips=50)], 200) == {1: 150, 2: 50}
    assert spread([empty(1, max_chips=300), empty(2, max_chips=100)], 200) == {1: 150, 2: 50}


def test_weights_share_the_chips_of_equals() -> None:
    assert spread([empty(1, weight=300), empty(2, provider=B, weight=100)], 200) == {1: 150, 2: 50}
