"""Bridges that died without a word: told once for each address, as long as somebody should do something about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.actions.test_bridges import a_bridge, beat, claim
from tests.factories import NOW, make_chip, make_ready_pool, make_user
from whago.domain.actions.bridge_alerts import check_bridges
from whago.domain.actions.bridges import bury_bridges, end_bridge
from whago.domain.actions.chips import set_chip_status
from whago.domain.models import Alert, ChipStatus, Engine
from whago.domain.queries.machinery import bridges_now
from whago.domain.rules.holds import DEAD_AFTER, FORGOTTEN_AFTER, GIVEN_UP_AFTER, SILENT_AFTER
from whago.kit.db import transaction

SECOND = timedelta(seconds=1)
SILENT = NOW + SILENT_AFTER + SECOND
HERE, THERE = "http://10.0.0.1:3130", "http://10.0.0.2:3130"


@pytest.fixture
def chip_id(database: str) -> UUID:
    make_ready_pool()
    chip_id = make_chip(make_user("enterprise"), engine=Engine.BRIDGE).chip_id
    set_chip_status(chip_id, ChipStatus.CONNECTED, now=NOW)
    return chip_id


def open_alerts() -> dict[str, int]:
    """Address → its chips that run nowhere."""
    with transaction() as db:
        found = db.scalars(select(Alert).where(Alert.kind == "bridge_silent", Alert.cleared_at.is_(None)))
        return {one.subject: one.data["count"] for one in found}


def looked(now: datetime) -> dict[str, int]:
    check_bridges(now=now)
    return open_alerts()


def witness(bridge_id: UUID, now: datetime) -> None:
    """It was heard for long enough to tell a dead bridge from a backend that was away."""
    for moment in (now - DEAD_AFTER, now):
        beat(bridge_id, url=THERE, now=moment)


def test_a_bridge_that_falls_silent_is_told_once_and_its_return_too(chip_id: UUID) -> None:
    bridge = a_bridge(url=HERE)
    claim(chip_id, bridge)
    assert check_bridges(now=NOW + SILENT_AFTER) == (0, 0)
    assert check_bridges(now=SILENT) == (1, 0)
    assert check_bridges(now=SILENT + SECOND) == (0, 0)
    assert open_alerts() == {HERE: 1}
    beat(bridge, url=HERE, now=SILENT + 2 * SECOND)
    assert check_bridges(now=SILENT + 3 * SECOND) == (0, 1)


def test_one_that_said_goodbye_is_not_missed(chip_id: UUID) -> None:
    bridge = a_bridge(url=HERE)
    claim(chip_id, bridge)
    end_bridge(bridge, now=NOW + 3 * SECOND)
    assert looked(SILENT) == {}


def test_another_process_at_its_address_is_its_return_and_elsewhere_it_is_not(chip_id: UUID) -> None:
    claim(chip_id, a_bridge(url=HERE))
    a_bridge(url=THERE, now=SILENT)
    assert looked(SILENT) == {HERE: 1}
    a_bridge(url=HERE, now=SILENT + SECOND)
    assert looked(SILENT + SECOND) == {}


def test_it_is_told_though_its_chips_went_elsewhere_before_anybody_looked(chip_id: UUID) -> None:
    dead, heir = a_bridge(url=HERE), a_bridge(url=THERE)
    claim(chip_id, dead)
    witness(heir, SILENT)
    assert bury_bridges(now=SILENT) == [dead]
    assert looked(SILENT) == {HERE: 1}
    claim(chip_id, heir, now=SILENT)
    assert looked(SILENT + SECOND) == {HERE: 0}


def test_it_is_given_up_when_its_chips_run_elsewhere_and_it_stays_away(chip_id: UUID) -> None:
    dead, heir = a_bridge(url=HERE), a_bridge(url=THERE)
    claim(chip_id, dead)
    later = NOW + GIVEN_UP_AFTER + SECOND
    witness(heir, later)
    assert looked(later) == {HERE: 1}  # its chip still runs nowhere
    bury_bridges(now=later)
    claim(chip_id, heir, now=later)
    assert looked(later) == {}


@pytest.mark.parametrize("status", [ChipStatus.DISCONNECTED, ChipStatus.BLOCKED_QUOTA, ChipStatus.LOGGED_OUT])
def test_a_chip_that_is_not_meant_to_run_is_not_waited_for(chip_id: UUID, status: ChipStatus) -> None:
    claim(chip_id, a_bridge(url=HERE))
    set_chip_status(chip_id, status, now=NOW)
    assert looked(SILENT) == {HERE: 0}
    assert looked(NOW + GIVEN_UP_AFTER + SECOND) == {}


def test_the_last_bridge_is_missed_for_as_long_as_its_chips_run_nowhere(chip_id: UUID) -> None:
    claim(chip_id, a_bridge(url=HERE))
    much_later = NOW + FORGOTTEN_AFTER + SECOND
    bury_bridges(now=much_later)
    assert looked(much_later) == {HERE: 1}


def test_the_page_shows_it_with_the_chips_that_run_nowhere(chip_id: UUID) -> None:
    dead, other = a_bridge(url=HERE), a_bridge(url=THERE)
    claim(chip_id, dead)
    witness(other, SILENT)
    bury_bridges(now=SILENT)
    assert [(one.url, one.is_fresh, one.holds) for one in bridges_now(now=SILENT)] == [
        (THERE, True, 0),
        (HERE, False, 1),
    ]
