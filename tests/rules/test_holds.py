"""Who lives, who is dead, and where the next chip goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.holds import BEAT_EVERY_S, DEAD_AFTER, FENCED_AFTER_S, Load, SignOfLife, dead_bridges, roomiest

NOW = datetime(2026, 11, 15, 12, tzinfo=UTC)
ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))
LONG = timedelta(hours=1)


def sign(bridge_id: UUID, *, silent_s: float = 0, alive: timedelta = LONG, stopped: bool = False) -> SignOfLife:
    return SignOfLife(bridge_id, NOW - timedelta(seconds=silent_s), NOW - alive, stopped=stopped)


def test_a_bridge_closes_its_chips_before_anybody_takes_them() -> None:
    assert timedelta(seconds=FENCED_AFTER_S) < DEAD_AFTER
    assert 4 * BEAT_EVERY_S <= FENCED_AFTER_S  # lost beats before it closes them


def test_the_silent_one_is_dead_when_another_was_heard_all_the_time() -> None:
    assert dead_bridges([sign(ONE), sign(TWO, silent_s=16)], NOW) == {TWO}


def test_silence_within_the_time_is_no_death() -> None:
    assert dead_bridges([sign(ONE), sign(TWO, silent_s=15)], NOW) == set()


def test_a_backend_that_was_away_buries_nobody() -> None:
    back = sign(ONE, alive=timedelta(seconds=2))  # the first one to be heard again
    assert dead_bridges([back, sign(TWO, silent_s=40), sign(THREE, silent_s=40)], NOW) == set()


def test_nobody_is_buried_without_a_witness() -> None:
    assert dead_bridges([sign(ONE, silent_s=3_600)], NOW) == set()
    assert dead_bridges([], NOW) == set()


def test_who_said_goodbye_is_dead_at_once() -> None:
    assert dead_bridges([sign(ONE, stopped=True), sign(TWO, alive=timedelta(0))], NOW) == {ONE}


def test_a_stopped_one_is_no_witness() -> None:
    assert dead_bridges([sign(ONE, stopped=True), sign(TWO, silent_s=60)], NOW) == {ONE}


@given(st.lists(st.tuples(st.floats(0, 120), st.floats(0, 120), st.booleans()), max_size=6))
def test_a_fresh_one_that_did_not_stop_is_never_dead(figures: list[tuple[float, float, bool]]) -> None:
    signs = [
        sign(UUID(int=number), silent_s=silent, alive=timedelta(seconds=alive), stopped=stopped)
        for number, (silent, alive, stopped) in enumerate(figures)
    ]
    dead = dead_bridges(signs, NOW)
    assert not [one for one in signs if one.is_fresh(NOW) and one.bridge_id in dead]


def load(bridge_id: UUID, holds: int, max_chips: int = 100) -> Load:
    return Load(bridge_id, f"http://{bridge_id}", holds, max_chips)


def test_the_next_chip_goes_where_the_share_is_smallest() -> None:
    assert roomiest([load(ONE, 10), load(TWO, 12, 200), load(THREE, 9)]) == load(TWO, 12, 200)


def test_a_full_bridge_gets_no_chip() -> None:
    assert roomiest([load(ONE, 100), load(TWO, 199, 200)]) == load(TWO, 199, 200)
    assert roomiest([load(ONE, 100), load(TWO, 201, 200)]) is None
    assert roomiest([]) is None
