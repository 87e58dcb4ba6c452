"""Every kind of alert, provoked on its real way, reaches every channel of whom it concerns once; so does its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.alerts.provokers import PROVOKERS
from tests.alerts.world import World, a_world
from whago.domain.rules.alert_kinds import ALERT_KINDS
from whago.domain.rules.notices import NOTICES, RECOVERIES

ELSEWHERE = {
    "channel_disabled",  # tests/notify/test_delivering.py: the channel itself must fail for it
}


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with a_world(database, tmp_path) as made:
        yield made


def test_every_kind_is_provoked_and_has_words_for_its_beginning_and_its_end() -> None:
    assert set(ALERT_KINDS) == set(PROVOKERS) | ELSEWHERE
    assert set(ALERT_KINDS) <= set(NOTICES)
    assert set(ALERT_KINDS) <= set(RECOVERIES)


@pytest.mark.parametrize("kind", PROVOKERS)
def test_it_is_told_once_on_every_channel_and_so_is_its_end(world: World, kind: str) -> None:
    provoke, audience = PROVOKERS[kind]
    way = provoke(world)
    next(way)
    world.deliver()
    told_once(world, kind, audience, ended=False)
    for who in ("owner", "admin"):
        assert world.heard(who, kind, ended=True) == []

    assert next(way, "over") == "over"
    world.deliver()
    told_once(world, kind, audience, ended=True)
    told_once(world, kind, audience, ended=False)


def told_once(world: World, kind: str, audience: set[str], *, ended: bool) -> None:
    for who in ("owner", "admin"):
        heard = world.heard(who, kind, ended=ended)
        if who not in audience:
            assert heard == []
            continue
        ((title, message, mails, calls),) = heard
        assert (mails, calls) == (1, 1), (title, message)
        assert title
        assert message
        assert "{" not in title + message
