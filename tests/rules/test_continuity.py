"""What a look at an exit means, and how long addresses live."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from whago.domain.rules.continuity import (
    DUPLICATE_MOVES_MAX,
    SETTLED_AFTER,
    Life,
    Meaning,
    MedianLife,
    judge,
    may_move_off,
    median_life,
)

NOW = datetime(2026, 11, 15, 15, tzinfo=UTC)
HOME, AWAY, ELSEWHERE = "203.0.113.1", "203.0.113.2", "203.0.113.3"


def looked(
    seen: str,
    last: str | None = HOME,
    *,
    expected: str | None = HOME,
    since: timedelta | None = None,
    paused: bool = False,
) -> Meaning:
    changed_at = NOW - since if since is not None else None
    return judge(seen, last=last, expected=expected, changed_at=changed_at, is_paused=paused, now=NOW)


def test_the_first_look_is_no_change() -> None:
    assert looked(HOME, None, expected=None) is Meaning.FIRST


def test_the_same_address_is_nothing_new() -> None:
    assert looked(HOME) is Meaning.SAME


def test_another_address_is_a_change() -> None:
    assert looked(AWAY) is Meaning.CHANGED
    assert looked(ELSEWHERE, AWAY, since=timedelta(minutes=1)) is Meaning.CHANGED


def test_a_change_that_lasts_settles() -> None:
    almost = SETTLED_AFTER - timedelta(seconds=1)
    assert looked(AWAY, AWAY, expected=AWAY, since=almost) is Meaning.SAME
    assert looked(AWAY, AWAY, expected=AWAY, since=SETTLED_AFTER) is Meaning.SETTLED


def test_a_paused_chip_does_not_settle_by_waiting() -> None:
    assert looked(AWAY, AWAY, since=timedelta(days=3), paused=True) is Meaning.SAME


def test_a_paused_chip_is_home_again() -> None:
    assert looked(HOME, AWAY, since=timedelta(hours=3), paused=True) is Meaning.RETURNED


def test_a_chip_is_moved_off_an_address_once_and_not_without_end() -> None:
    assert may_move_off(HOME, [])
    assert not may_move_off(HOME, [HOME])
    assert may_move_off(HOME, [AWAY] * (DUPLICATE_MOVES_MAX - 1))
    assert not may_move_off(HOME, [AWAY] * DUPLICATE_MOVES_MAX)


def lives(*hours: float, ended: bool) -> list[Life]:
    return [Life(timedelta(hours=one), ended) for one in hours]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], None),
        (lives(5, ended=False), MedianLife(timedelta(hours=5), is_least=True)),
        (lives(5, ended=True), MedianLife(timedelta(hours=5), is_least=False)),
        (lives(1, 2, 3, ended=True), MedianLife(timedelta(hours=2), is_least=False)),
        (lives(1, ended=True) + lives(700, 700, 700, ended=False), MedianLife(timedelta(hours=700), is_least=True)),
        (lives(1, 2, 3, ended=True) + lives(9, 9, ended=False), MedianLife(timedelta(hours=3), is_least=False)),
    ],
)
def test_the_median_life_takes_nobody_for_dead_who_lives(found: list[Life], expected: MedianLife | None) -> None:
    assert median_life(found) == expected


def test_addresses_that_live_longer_never_lower_the_median() -> None:
    short = median_life(lives(1, 2, 3, ended=True))
    longer = median_life(lives(1, 2, 3, ended=True) + lives(50, ended=False))
    assert short is not None
    assert longer is not None
    assert longer.length >= short.length
