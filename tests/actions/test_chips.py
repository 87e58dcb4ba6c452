"""Chips and their proxies: one static IP one chip, never more than the plan allows, never half made."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy import func, select

from tests.actions.test_record_usage import a_boot, a_usage
from tests.factories import NOW, TZ, make_chip, make_plan, make_provider, make_proxy, make_ready_pool, make_user
from whago.domain.actions import assignments, chips
from whago.domain.actions.pool import delete_proxy
from whago.domain.actions.providers import delete_provider
from whago.domain.actions.record_usage import record_usage
from whago.domain.models import Assignment, Chip, ChipEvent, ChipStatus, UsageLog
from whago.errors import WhagoError
from whago.kit.db import transaction

pytestmark = pytest.mark.usefixtures("database")


def at_once(work: Callable[[int], object], count: int) -> Counter[str]:
    """Runs ``work(n)`` in ``count`` threads; counts "ok" and error codes."""
    outcomes: Counter[str] = Counter()

    def run(number: int) -> None:
        try:
            work(number)
            outcomes["ok"] += 1
        except WhagoError as error:
            outcomes[error.code] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def active() -> list[Assignment]:
    with transaction() as db:
        return list(db.scalars(select(Assignment).where(Assignment.released_at.is_(None))))


def test_fifty_chips_at_once_never_share_a_static_ip() -> None:
    provider = make_provider()
    for _ in range(20):
        make_proxy(provider, proxy_type="static")
    user = make_user(make_plan(max_chips=100))
    assert at_once(lambda n: make_chip(user, f"chip {n}"), 50) == {"ok": 20, "no_healthy_proxy": 30}
    assert len({a.proxy_id for a in active()}) == len(active()) == 20
    with transaction() as db:
        assert db.scalar(select(func.count()).select_from(Chip)) == 20


def test_fifty_chips_at_once_never_pass_a_proxys_room() -> None:
    provider = make_provider()
    small, large = make_proxy(provider, max_chips=7), make_proxy(provider, max_chips=30)
    users = [make_user(make_plan(max_chips=100)) for _ in range(5)]
    assert at_once(lambda n: make_chip(users[n % 5], f"chip {n}"), 50) == {"ok": 37, "no_healthy_proxy": 13}
    assert Counter(a.proxy_id for a in active()) == {small.id: 7, large.id: 30}
    assert len({a.session_token for a in active()}) == 37


def test_fifty_chips_at_once_never_pass_the_plan() -> None:
    make_ready_pool()
    user = make_user("business")
    assert at_once(lambda n: make_chip(user, f"chip {n}"), 50) == {"ok": 3, "chip_limit": 47}


def test_the_same_alias_twice_at_once_makes_one_chip() -> None:
    make_ready_pool()
    user = make_user("enterprise")
    assert at_once(lambda _n: make_chip(user, "the same"), 8) == {"ok": 1, "alias_taken": 7}


def test_no_healthy_proxy_leaves_nothing_behind() -> None:
    make_proxy(make_provider(), health_score=39)
    with pytest.raises(WhagoError, match="No healthy proxy"):
        make_chip(make_user("business"))
    with transaction() as db:
        assert db.scalar(select(func.count()).select_from(Chip)) == 0
        assert db.scalar(select(func.count()).select_from(ChipEvent)) == 0


def test_a_spent_quota_refuses_a_new_chip_and_a_raised_one_takes_it() -> None:
    make_ready_pool()
    user = make_user(make_plan(proxy_gb_limit=Decimal("0.000001")))
    record_usage(a_boot(), [a_usage(user)], now=NOW, tz=TZ)
    with pytest.raises(WhagoError) as refused:
        make_chip(user)
    assert refused.value.code == "quota_exhausted"
    make_chip(make_user(make_plan(proxy_gb_limit=None)))


def test_a_chip_is_released_and_assigned_any_number_of_times_with_history() -> None:
    make_ready_pool()
    user = make_user("business")
    chip_id = make_chip(user).chip_id
    seen = [a.session_identifier for a in active()]
    seen += [assignments.rotate_proxy(user.id, chip_id, now=NOW).session_identifier for _ in range(5)]
    assert seen[0] == f"chip-{chip_id}"
    assert len(set(seen)) == 6
    with transaction() as db:
        history = db.scalars(select(Assignment).where(Assignment.chip_id == chip_id)).all()
    assert len(history) == 6
    assert [a.session_identifier for a in active()] == [seen[-1]]
    assert {a.release_reason for a in history if a.released_at} == {"rotated_by_user"}


def test_rotating_all_day_is_refused() -> None:
    make_ready_pool()
    user = make_user("business")
    chip_id = make_chip(user).chip_id
    for _ in range(assignments.ROTATIONS_PER_DAY):
        assignments.rotate_proxy(user.id, chip_id, now=NOW)
    with pytest.raises(WhagoError) as refused:
        assignments.rotate_proxy(user.id, chip_id, now=NOW)
    assert refused.value.code == "rotation_limit"
    assert len(active()) == 1


def test_two_rotations_at_once_leave_one_active_assignment() -> None:
    make_ready_pool()
    user = make_user("business")
    chip_id = make_chip(user).chip_id
    assert at_once(lambda _n: assignments.rotate_proxy(user.id, chip_id, now=NOW), 4) == {"ok": 4}
    assert len(active()) == 1


def test_a_static_chip_rotates_to_another_proxy_or_stays() -> None:
    provider = make_provider()
    first = make_proxy(provider, proxy_type="static")
    user = make_user("business")
    chip_id = make_chip(user).chip_id
    with pytest.raises(WhagoError, match="No healthy proxy"):
        assignments.rotate_proxy(user.id, chip_id, now=NOW)
    assert [a.proxy_id for a in active()] == [first.id]
    second = make_proxy(provider, proxy_type="static")
    assert assignments.rotate_proxy(user.id, chip_id, now=NOW).proxy_id == second.id


def test_an_outsider_finds_nothing_to_delete_or_rotate() -> None:
    make_ready_pool()
    chip_id = make_chip(make_user("business")).chip_id
    outsider = make_user("business")
    for attempt in (
        lambda: chips.delete_chip(outsider.id, chip_id, now=NOW),
        lambda: chips.renew_gateway_token(outsider.id, chip_id, now=NOW),
        lambda: assignments.rotate_proxy(outsider.id, chip_id, now=NOW),
    ):
        with pytest.raises(WhagoError) as refused:
            attempt()
        assert refused.value.code == "not_found"
    assert len(active()) == 1


def test_a_deleted_chip_frees_its_proxy_and_alias_and_keeps_its_usage() -> None:
    provider = make_provider()
    make_proxy(provider, proxy_type="static")
    user = make_user("business")
    usage = a_usage(user)
    record_usage(a_boot(), [usage], now=NOW, tz=TZ)
    chips.delete_chip(user.id, usage.chip_id, now=NOW)
    assert active() == []
    make_chip(user)
    with transaction() as db:
        assert db.scalar(select(func.sum(UsageLog.bytes_transferred)).where(UsageLog.chip_id == usage.chip_id)) == 1150


def test_a_proxy_in_use_is_kept_unless_forced_and_then_its_chips_move_or_wait() -> None:
    provider = make_provider()
    first = make_proxy(provider, proxy_type="static")
    user = make_user("business")
    chip_id = make_chip(user).chip_id
    with pytest.raises(WhagoError) as refused:
        delete_proxy(None, first.id, force=False, now=NOW)
    assert (refused.value.code, refused.value.details["chips"][0]["id"]) == ("proxy_in_use", str(chip_id))
    second = make_proxy(provider, proxy_type="static")
    delete_proxy(None, first.id, force=True, now=NOW)
    assert [a.proxy_id for a in active()] == [second.id]
    delete_provider(None, provider.id, force=True, now=NOW)
    assert active() == []
    with transaction() as db:
        assert db.scalars(select(Chip.status)).all() == [ChipStatus.WAITING_PROXY]
    make_proxy(make_provider())
    assert assignments.give_waiting_chip_a_proxy(chip_id, now=NOW)
    assert not assignments.give_waiting_chip_a_proxy(chip_id, now=NOW)


def test_chips_created_while_their_proxies_are_deleted_always_end_on_a_living_one() -> None:
    provider = make_provider()
    doomed = [make_proxy(provider, max_chips=50) for _ in range(5)]
    safe = make_proxy(make_provider(priority=200), max_chips=500)
    user = make_user(make_plan(max_chips=100))

    def work(number: int) -> None:
        if number % 6 == 5:
            delete_proxy(None, doomed[number // 6].id, force=True, now=NOW)
        else:
            make_chip(user, f"chip {number}")

    assert at_once(work, 30) == {"ok": 30}
    assert {a.proxy_id for a in active()} == {safe.id}
    assert len(active()) == 25


def test_old_events_of_the_bridge_change_nothing() -> None:
    make_ready_pool()
    chip_id = make_chip(make_user("business")).chip_id
    assert chips.set_chip_status(chip_id, ChipStatus.CONNECTED, now=NOW, event_no=5, phone_number="5511999990000")
    assert not chips.set_chip_status(chip_id, ChipStatus.CONNECTING, now=NOW, event_no=4)
    with transaction() as db:
        chip = db.get_one(Chip, chip_id)
        assert (chip.status, chip.phone_number) == (ChipStatus.CONNECTED, "5511999990000")


def test_an_undone_creation_leaves_no_trace() -> None:
    make_ready_pool()
    chips.undo_chip_creation(make_chip(make_user("business")).chip_id)
    with transaction() as db:
        for model in (Chip, Assignment, ChipEvent):
            assert db.scalar(select(func.count()).select_from(model)) == 0
