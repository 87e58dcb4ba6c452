"""A chip's past as stretches: nothing overlaps, nothing is invented, everything stays within the window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.timelines import SeenExit, Stretch, exit_stretches, status_stretches

START = datetime(2026, 11, 1, tzinfo=UTC)
END = START + timedelta(days=30)
FIRST, SECOND = uuid4(), uuid4()


def at(day: float) -> datetime:
    return START + timedelta(days=day)


def seen(ip: str, day: float, until: float, released: float | None = None, assignment: UUID = FIRST) -> SeenExit:
    return SeenExit(assignment, ip, at(day), at(until), at(released) if released is not None else None)


def test_an_address_lasts_between_two_looks_and_until_now() -> None:
    assert exit_stretches([seen("a", 2, 5)], start=START, end=END) == [Stretch("a", at(2), END)]


def test_another_address_ends_it() -> None:
    found = exit_stretches([seen("a", 2, 5), seen("b", 9, 9)], start=START, end=END)
    assert found == [Stretch("a", at(2), at(9)), Stretch("b", at(9), END)]


def test_without_a_proxy_there_is_a_gap() -> None:
    looks = [seen("a", 2, 5, released=6), seen("b", 9, 9, assignment=SECOND)]
    assert exit_stretches(looks, start=START, end=END) == [Stretch("a", at(2), at(6)), Stretch("b", at(9), END)]


def test_the_same_address_under_a_new_assignment_goes_on() -> None:
    looks = [seen("a", 2, 5, released=9), seen("a", 9, 9, assignment=SECOND)]
    assert exit_stretches(looks, start=START, end=END) == [Stretch("a", at(2), END)]


def test_what_was_before_the_window_is_cut() -> None:
    looks = [seen("a", -9, -5), seen("b", -3, 2), seen("c", 4, 4)]
    assert exit_stretches(looks, start=START, end=END) == [Stretch("b", START, at(4)), Stretch("c", at(4), END)]


def test_a_status_lasts_until_the_next() -> None:
    changes = [("created", at(-5)), ("connected", at(1)), ("connected", at(2)), ("disconnected", at(8))]
    assert status_stretches(changes, start=START, end=END) == [
        Stretch("created", START, at(1)),
        Stretch("connected", at(1), at(8)),
        Stretch("disconnected", at(8), END),
    ]


def test_nothing_is_made_of_nothing() -> None:
    assert exit_stretches([], start=START, end=END) == []
    assert status_stretches([], start=START, end=END) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-40, 40)), max_size=30))
def test_stretches_never_overlap_and_never_leave_the_window(changes: list[tuple[str, float]]) -> None:
    ordered = sorted(changes, key=lambda change: change[1])
    looks = [seen(ip, day, day) for ip, day in ordered]
    for found in (
        exit_stretches(looks, start=START, end=END),
        status_stretches([(ip, at(day)) for ip, day in ordered], start=START, end=END),
    ):
        for one, after in pairwise(found):
            assert one.ends <= after.begins
        for one in found:
            assert START <= one.begins < one.ends <= END
