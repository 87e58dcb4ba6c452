"""Chips leave exits that are gone: which rung, one row each, within capacity, no flapping; and what drains empties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import select, text

from tests.factories import NOW, make_chip, make_plan, make_provider, make_proxy, make_user
from whago.domain.actions.chips import delete_chip
from whago.domain.actions.failover import Moved, fail_over, leave_drained
from whago.domain.actions.pool_health import record_probe, score_pool, tell_pool_state
from whago.domain.models import Assignment, ChipEvent, Notification, Provider, Proxy, User
from whago.domain.models.dialled import SessionDials, take_dials
from whago.domain.queries.failover import chips_to_drain, gone_sessions, pool_state
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault

from .test_pool_health import BROKE, DEAD, GOOD

GRACE = timedelta(seconds=30)
LATER = NOW + GRACE


@pytest.fixture
def user(database: str) -> User:
    return make_user(make_plan(max_chips=1000))


@pytest.fixture
def first(database: str, vault: Vault) -> Provider:
    return make_provider(vault, priority=1, name="First")


@pytest.fixture
def second(database: str, vault: Vault) -> Provider:
    return make_provider(vault, priority=2, name="Second")


def history(chip_id: UUID) -> list[Assignment]:
    with db.transaction() as tx:
        query = select(Assignment).where(Assignment.chip_id == chip_id).order_by(Assignment.assigned_at, Assignment.id)
        return sorted(tx.scalars(query), key=lambda one: one.released_at is None)


def now_on(chip_id: UUID) -> Assignment:
    (active,) = [one for one in history(chip_id) if one.released_at is None]
    return active


def all_active() -> list[Assignment]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Assignment).where(Assignment.released_at.is_(None))))


def fail(chips: Sequence[UUID], *, at: datetime = NOW, times: int = 2, **counts: int) -> None:
    with db.transaction() as tx:
        told = [SessionDials(one.id, one.proxy_id, **(counts or {"failed": times})) for one in map(now_on, chips)]
        take_dials(tx, told, at)


def round_at(now: datetime, *, grace: timedelta = GRACE) -> Counter[str]:
    """What the guard does, without its clock."""
    score_pool(now=now)
    proven = pool_state(now=now).proven_since
    gone = gone_sessions(grace=grace, now=now, limit=1000)
    came = Counter(
        fail_over(one.chip_id, one.assignment_id, grace=grace, now=now, proven_since=proven).value for one in gone
    )
    tell_pool_state(now=now)
    return came


def execute(sql: str, **values: Any) -> None:
    with db.transaction() as tx:
        tx.execute(text(sql), values)


def answer(*proxies: Proxy, at: datetime = LATER) -> None:
    """They live: the proof that a chip is moved to them only for."""
    for one in proxies:
        record_probe(one.id, GOOD, now=at)


def eject(proxy: Proxy, at: datetime = NOW) -> None:
    for _ in range(3):
        record_probe(proxy.id, DEAD, now=at)


def test_a_slow_or_hiccupping_exit_is_kept(user: User, first: Provider) -> None:
    make_proxy(first)
    chip = make_chip(user).chip_id
    fail([chip], times=1)
    fail([chip], at=NOW + timedelta(seconds=3), established=1, took_ms=60_000)
    assert round_at(NOW + timedelta(hours=1)) == {}
    assert len(history(chip)) == 1


def test_a_dead_session_gets_a_new_one_on_the_same_proxy_after_the_grace(user: User, first: Provider) -> None:
    proxy = make_proxy(first)
    make_proxy(first)
    chip, *_ = [make_chip(user).chip_id for _ in range(6)]
    execute("UPDATE chip_proxy_assignments SET first_ok_at = assigned_at")
    proxy_id = now_on(chip).proxy_id
    fail([chip], times=5)
    assert round_at(LATER - timedelta(seconds=1)) == {}
    assert round_at(LATER) == {"moved": 1}
    old, new = history(chip)
    assert (old.released_at, old.release_reason) == (LATER, "failover_session")
    assert (new.assign_reason, new.proxy_id) == ("failover_session", proxy_id)
    assert new.session_identifier == f"chip-{chip}-1"
    assert new.session_token != old.session_token
    assert proxy_id in (proxy.id, new.proxy_id)


def test_the_rungs_are_climbed_one_by_one(user: User, first: Provider, second: Provider) -> None:
    only, other = make_proxy(first), make_proxy(first, health_score=90, bad_weight=0.2)
    abroad = make_proxy(second)
    chip = make_chip(user).chip_id
    execute("UPDATE chip_proxy_assignments SET first_ok_at = assigned_at")
    moment, seen = NOW, []
    for _ in range(3):
        fail([chip], at=moment)
        moment += timedelta(minutes=5)
        answer(only, other, abroad, at=moment)
        round_at(moment)
        seen.append((now_on(chip).assign_reason, now_on(chip).proxy_id))
    assert seen == [
        ("failover_session", only.id),
        ("failover_proxy", other.id),
        ("failover_provider", abroad.id),
    ]


def test_a_dead_provider_s_chips_all_go_to_the_next_each_with_one_row(
    user: User, first: Provider, second: Provider
) -> None:
    make_proxy(first)
    alive = make_proxy(second)
    chips = [make_chip(user).chip_id for _ in range(40)]
    fail(chips)
    assert round_at(NOW) == {}
    answer(alive)
    assert round_at(LATER) == {"moved": 40}
    assert {one.proxy_id for one in all_active()} == {alive.id}
    assert all(len(history(chip)) == 2 for chip in chips)
    assert len({one.session_token for one in all_active()}) == 40


def test_a_provider_that_returns_gets_nobody_back(user: User, first: Provider, second: Provider) -> None:
    back, alive = make_proxy(first), make_proxy(second)
    chips = [make_chip(user).chip_id for _ in range(5)]
    fail(chips)
    answer(alive)
    assert round_at(LATER) == {"moved": 5}
    for minute in range(1, 30):
        record_probe(back.id, GOOD, now=LATER + timedelta(minutes=minute))
        fail(chips, at=LATER + timedelta(minutes=minute), established=1, took_ms=100)
        assert round_at(LATER + timedelta(minutes=minute)) == {}
    with db.transaction() as tx:
        assert tx.get_one(Proxy, back.id).ejected_until is None
    assert {one.proxy_id for one in all_active()} == {alive.id}
    assert now_on(make_chip(user, now=LATER).chip_id).proxy_id == back.id, "new chips go where they belong"


def test_a_chip_that_fails_everywhere_is_moved_less_and_less(user: User, first: Provider) -> None:
    make_proxy(first)
    chip = make_chip(user).chip_id
    others = [make_chip(user).chip_id for _ in range(5)]
    moved = 0
    for second_no in range(0, 3600, 10):
        moment = NOW + timedelta(seconds=second_no)
        fail(others, at=moment, established=1)
        fail([chip], at=moment, times=1)
        moved += round_at(moment, grace=timedelta(seconds=5))["moved"]
    assert 3 <= moved <= 12


def test_without_another_exit_the_chip_keeps_its_identifier(user: User, first: Provider) -> None:
    only = make_proxy(first, max_chips=3)
    chips = [make_chip(user).chip_id for _ in range(3)]
    before = {chip: now_on(chip).session_identifier for chip in chips}
    fail(chips)
    assert round_at(LATER) == {"held": 3}
    assert {chip: now_on(chip).session_identifier for chip in chips} == before
    with db.transaction() as tx:
        assert tx.get_one(Proxy, only.id).ejected_until is not None


def test_in_a_panic_only_a_survivor_that_has_proved_itself_gets_chips(
    user: User, first: Provider, second: Provider
) -> None:
    dead, alive = [make_proxy(first) for _ in range(3)], make_proxy(second)
    chip = make_chip(user).chip_id
    for one in dead:
        eject(one)
    fail([chip])
    state = pool_state(now=LATER)
    assert (state.proxies, state.out, state.failing) == (4, 3, 1)
    assert state.proven_since is not None
    assert round_at(LATER) == {"held": 1}
    record_probe(alive.id, GOOD, now=LATER)
    assert round_at(LATER + timedelta(seconds=3)) == {"moved": 1}
    assert now_on(chip).proxy_id == alive.id


def test_an_empty_account_moves_its_chips_but_a_suspicion_does_not(
    user: User, first: Provider, second: Provider
) -> None:
    broke, alive = make_proxy(first), make_proxy(second)
    chips = [make_chip(user).chip_id for _ in range(4)]
    fail(chips, refused=5)
    assert round_at(LATER) == {}
    record_probe(broke.id, BROKE, now=LATER)
    assert round_at(LATER + timedelta(seconds=3)) == {"moved": 4}
    assert {one.proxy_id for one in all_active()} == {alive.id}
    with db.transaction() as tx:
        assert tx.get_one(Proxy, broke.id).ejected_until is None


def test_a_static_ip_s_chip_goes_to_another_static_ip(user: User, first: Provider) -> None:
    for _ in range(3):
        make_proxy(first, proxy_type="static")
    chips = [make_chip(user).chip_id for _ in range(2)]
    fail([chips[0]], times=3)
    assert round_at(LATER) == {"moved": 1}
    assert len({one.proxy_id for one in all_active()}) == 2
    assert now_on(chips[0]).assign_reason == "failover_proxy"


def test_capacity_holds_while_chips_fail_over_and_others_are_made(
    user: User, first: Provider, second: Provider, vault: Vault
) -> None:
    make_proxy(first, max_chips=60)
    chips = [make_chip(user).chip_id for _ in range(60)]
    small = [make_proxy(second, max_chips=size) for size in (7, 11, 13)]
    fail(chips)
    score_pool(now=LATER)
    gone = gone_sessions(grace=GRACE, now=LATER, limit=1000)

    def move(number: int) -> str:
        one = gone[number // 2]
        if number % 2:
            return fail_over(one.chip_id, one.assignment_id, grace=GRACE, now=LATER).value
        try:
            return "made" if make_chip(user, now=LATER) else ""
        except WhagoError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        came = Counter(pool.map(move, range(40)))
    taken = Counter(one.proxy_id for one in all_active())
    assert [taken[one.id] for one in small] == [7, 11, 13]
    assert came["moved"] + came["made"] == 31
    assert came["held"] + came["no_healthy_proxy"] == 9


def test_a_chip_is_moved_once_though_two_workers_try(user: User, first: Provider, second: Provider) -> None:
    make_proxy(first)
    make_proxy(second)
    chips = [make_chip(user).chip_id for _ in range(10)]
    fail(chips)
    score_pool(now=LATER)
    gone = gone_sessions(grace=GRACE, now=LATER, limit=1000)
    with ThreadPoolExecutor(2) as pool:
        came = Counter(
            pool.map(lambda one: fail_over(one.chip_id, one.assignment_id, grace=GRACE, now=LATER), [*gone, *gone])
        )
    assert came == {Moved.MOVED: 10, Moved.SETTLED: 10}
    assert all(len(history(chip)) == 2 for chip in chips)


def test_a_chip_that_recovered_or_was_deleted_meanwhile_is_left_alone(
    user: User, first: Provider, second: Provider
) -> None:
    make_proxy(first)
    make_proxy(second)
    well, gone_chip = make_chip(user).chip_id, make_chip(user).chip_id
    fail([well, gone_chip])
    found = {one.chip_id: one for one in gone_sessions(grace=GRACE, now=LATER, limit=9)}
    fail([well], at=LATER, established=1)
    delete_chip(user.id, gone_chip, now=LATER)
    for chip in (well, gone_chip):
        one = found[chip]
        assert fail_over(chip, one.assignment_id, grace=GRACE, now=LATER) is Moved.SETTLED


def test_gateways_are_told_in_the_same_transaction(
    user: User, first: Provider, second: Provider, database: str
) -> None:
    make_proxy(first)
    answer(make_proxy(second))
    chip = make_chip(user).chip_id
    fail([chip], times=3)
    with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as listener:
        listener.execute("LISTEN whago")
        assert round_at(LATER) == {"moved": 1}
        told = [notice.payload for notice in listener.notifies(timeout=5, stop_after=1)]
    assert str(chip) in told[0]


def test_the_owner_is_told_once_of_an_outage_and_once_of_its_end(user: User, first: Provider, second: Provider) -> None:
    make_proxy(first)
    answer(make_proxy(second))
    chips = [make_chip(user).chip_id for _ in range(12)]
    fail(chips)
    round_at(LATER)
    fail(chips[:11], at=LATER, established=1)
    round_at(LATER + timedelta(seconds=3))
    assert levels(user) == ["warning"]
    fail(chips[11:], at=LATER, established=1)
    round_at(LATER + timedelta(seconds=6))
    assert levels(user) == ["success", "warning"]
    with db.transaction() as tx:
        kinds = Counter(tx.scalars(select(ChipEvent.kind)))
    assert kinds["proxy_assigned"] == 24


def levels(user: User) -> list[str]:
    with db.transaction() as tx:
        return sorted(tx.scalars(select(Notification.level).where(Notification.user_id == user.id)))


def test_a_drained_provider_takes_no_chips_and_loses_a_few_at_a_time(
    user: User, first: Provider, second: Provider
) -> None:
    make_proxy(first)
    alive = make_proxy(second)
    chips = [make_chip(user).chip_id for _ in range(5)]
    execute("UPDATE proxy_providers SET is_draining = true WHERE id = :id", id=first.id)
    assert now_on(make_chip(user).chip_id).proxy_id == alive.id
    left = []
    for _ in range(4):
        for one in chips_to_drain(each=2):
            assert leave_drained(one.chip_id, one.assignment_id, now=LATER) is Moved.MOVED
        left.append(len(chips_to_drain(each=100)))
    assert left == [3, 1, 0, 0]
    assert {now_on(chip).assign_reason for chip in chips} == {"drained"}


def test_a_drained_proxy_s_chips_stay_where_there_is_nowhere_else(user: User, first: Provider) -> None:
    make_proxy(first)
    chip = make_chip(user).chip_id
    execute("UPDATE proxies SET is_draining = true")
    (one,) = chips_to_drain(each=5)
    assert leave_drained(one.chip_id, one.assignment_id, now=LATER) is Moved.HELD
    with pytest.raises(WhagoError, match="No healthy proxy"):
        make_chip(user)
    assert len(history(chip)) == 1


def test_the_silent_chips_of_what_drains_go_first(user: User, first: Provider, second: Provider) -> None:
    make_proxy(first)
    make_proxy(second)
    chips = [make_chip(user).chip_id for _ in range(4)]
    for number, chip in enumerate(chips):
        execute("UPDATE chips SET last_activity_at = :at WHERE id = :id", at=NOW - timedelta(hours=number), id=chip)
    execute("UPDATE proxy_providers SET is_draining = true WHERE id = :id", id=first.id)
    assert {one.chip_id for one in chips_to_drain(each=2)} == {chips[2], chips[3]}


def test_a_drain_that_was_taken_back_moves_nobody(user: User, first: Provider, second: Provider) -> None:
    proxy = make_proxy(first)
    make_proxy(second)
    make_chip(user)
    execute("UPDATE proxies SET is_draining = true WHERE id = :id", id=proxy.id)
    (one,) = chips_to_drain(each=2)
    execute("UPDATE proxies SET is_draining = false")
    assert leave_drained(one.chip_id, one.assignment_id, now=LATER) is Moved.SETTLED
