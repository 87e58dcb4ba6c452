"""Bridges, the chips that they hold, and the state that they keep: raced, fenced, and whole after any crash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import ProgrammingError

from tests.conftest import SECRET
from tests.factories import NOW, make_chip, make_ready_pool, make_user
from whago.domain.actions.bridges import (
    Claim,
    beat_bridge,
    bury_bridges,
    claim_chip,
    end_bridge,
    forget_chip,
    release_chip,
    write_state,
)
from whago.domain.actions.chips import delete_chip, set_chip_status, undo_chip_creation
from whago.domain.actions.sealing import reseal
from whago.domain.models import Bridge, Chip, ChipHold, ChipSignalKey, ChipStatus, Engine
from whago.domain.models.sealing import SealedColumn
from whago.domain.queries.bridges import bridge_of, living_bridges, signal_keys
from whago.domain.rules.holds import DEAD_AFTER, FORGOTTEN_AFTER
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_id

NAMES = [bytes([number]) * 32 for number in range(4)]
SECOND = timedelta(seconds=1)


@pytest.fixture
def chip_id(database: str) -> UUID:
    make_ready_pool()
    return make_chip(make_user("enterprise"), engine=Engine.BRIDGE).chip_id


def a_bridge(*, url: str | None = None, now: datetime = NOW, max_chips: int = 10, is_draining: bool = False) -> UUID:
    bridge_id = new_id()
    beat(bridge_id, url=url or f"http://{bridge_id}", now=now, max_chips=max_chips, is_draining=is_draining)
    return bridge_id


def beat(
    bridge_id: UUID, *, url: str | None = None, now: datetime, max_chips: int = 10, is_draining: bool = False
) -> None:
    address = url or f"http://{bridge_id}"
    beat_bridge(bridge_id, url=address, started_at=NOW, max_chips=max_chips, is_draining=is_draining, now=now)


def claim(chip_id: UUID, bridge_id: UUID, *, now: datetime = NOW) -> Claim:
    return claim_chip(chip_id, bridge_id, vault=Vault([SECRET]), now=now)


def write(chip_id: UUID, bridge_id: UUID, epoch: int, keys: dict[bytes, bytes | None] | None = None) -> None:
    write_state(chip_id, bridge_id, epoch, creds=b"sealed creds", keys=keys or {}, now=NOW)


def hold_of(chip_id: UUID) -> ChipHold | None:
    with transaction() as db:
        return db.get(ChipHold, chip_id)


def refused(code: str) -> pytest.RaisesExc[WhagoError]:
    return pytest.RaisesExc(WhagoError, check=lambda error: error.code == code)


def test_a_chip_is_claimed_with_a_key_of_its_own_and_what_was_kept(chip_id: UUID) -> None:
    bridge = a_bridge()
    first = claim(chip_id, bridge)
    assert (first.epoch, first.creds, first.last_event_no) == (1, None, 0)
    write(chip_id, bridge, 1)
    again = claim(chip_id, bridge)
    assert (again.epoch, again.creds, again.state_key) == (2, b"sealed creds", first.state_key)
    assert first.state_key not in repr(first)
    stored = hold_of(chip_id)
    assert stored is not None
    assert first.state_key not in str(stored.state_key)
    other = make_chip(make_user("enterprise"), engine=Engine.BRIDGE).chip_id
    assert claim(other, bridge).state_key != first.state_key


def test_two_living_bridges_never_hold_one_chip(chip_id: UUID) -> None:
    bridges = [a_bridge() for _ in range(8)]

    def attempt(bridge_id: UUID) -> UUID | str:
        try:
            claim(chip_id, bridge_id)
        except WhagoError as error:
            return error.code
        return bridge_id

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, bridges))
    winners = [answer for answer in answers if isinstance(answer, UUID)]
    assert len(winners) == 1
    assert answers.count("chip_held") == len(bridges) - 1
    hold = hold_of(chip_id)
    assert hold is not None
    assert (hold.bridge_id, hold.epoch) == (winners[0], 1)


def test_a_bridge_that_nobody_knows_and_a_chip_that_does_not_exist_get_nothing(chip_id: UUID) -> None:
    with refused("bridge_unknown"):
        claim(chip_id, new_id())
    bridge = a_bridge()
    with refused("bridge_unknown"):
        claim(chip_id, bridge, now=NOW + DEAD_AFTER + SECOND)
    with refused("not_found"):
        claim(new_id(), bridge)


def test_a_dead_bridges_chip_is_taken_and_its_late_writes_are_refused(chip_id: UUID) -> None:
    dead, witness = a_bridge(), a_bridge()
    claim(chip_id, dead)
    write(chip_id, dead, 1, {NAMES[0]: b"before"})
    later = NOW + DEAD_AFTER + SECOND
    with refused("chip_held"):
        claim(chip_id, witness)
    beat(witness, now=NOW + DEAD_AFTER)
    beat(witness, now=later)
    assert claim(chip_id, witness, now=later).epoch == 2
    for late in (
        lambda: write(chip_id, dead, 1, {NAMES[0]: b"after"}),
        lambda: release_chip(chip_id, dead, 1, wipe=True),
        lambda: signal_keys(chip_id, dead, 1, NAMES),
        lambda: write(chip_id, witness, 1),  # its own, under an epoch that it never had
    ):
        with refused("hold_lost"):
            late()
    assert signal_keys(chip_id, witness, 2, NAMES) == {NAMES[0]: b"before"}


def test_burying_frees_the_chips_of_the_dead_alone(chip_id: UUID) -> None:
    dead, witness = a_bridge(), a_bridge()
    other = make_chip(make_user("enterprise"), engine=Engine.BRIDGE).chip_id
    claim(chip_id, dead)
    claim(other, witness)
    beat(witness, now=NOW + DEAD_AFTER)
    later = NOW + DEAD_AFTER + SECOND
    assert bury_bridges(now=later) == [dead]
    assert bury_bridges(now=later) == []
    assert bridge_of(chip_id, now=later) is None
    assert bridge_of(other, now=later) == f"http://{witness}"
    beat(dead, now=later)  # it was only slow: it lives, and asks for its chips again
    assert claim(chip_id, dead, now=later).epoch == 2
    assert {load.bridge_id for load in living_bridges(now=later)} == {dead, witness}


def test_the_rows_of_the_dead_do_not_pile_up(database: str) -> None:
    dead, witness = a_bridge(), a_bridge()
    end_bridge(dead, now=NOW)
    bury_bridges(now=NOW + FORGOTTEN_AFTER)
    with transaction() as db:
        assert db.get(Bridge, dead) is not None
    beat(witness, now=NOW + FORGOTTEN_AFTER + SECOND)
    bury_bridges(now=NOW + FORGOTTEN_AFTER + SECOND)
    with transaction() as db:
        assert db.get(Bridge, dead) is None


def test_another_process_at_the_same_address_frees_the_chips_at_once(chip_id: UUID) -> None:
    first = a_bridge(url="http://10.0.0.1:3130")
    claim(chip_id, first)
    second = a_bridge(url="http://10.0.0.1:3130", now=NOW + SECOND)
    assert claim(chip_id, second, now=NOW + SECOND).epoch == 2
    with refused("bridge_unknown"):
        claim(chip_id, first, now=NOW + SECOND)


def test_the_first_signs_of_life_may_come_at_the_same_moment(database: str) -> None:
    bridge_id = new_id()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: beat(bridge_id, now=NOW), range(8)))
    assert [load.bridge_id for load in living_bridges(now=NOW)] == [bridge_id]


def test_a_goodbye_frees_the_chips_at_once(chip_id: UUID) -> None:
    leaving, other = a_bridge(), a_bridge()
    claim(chip_id, leaving)
    end_bridge(leaving, now=NOW)
    assert claim(chip_id, other).epoch == 2


def test_loads_tell_of_room_and_leave_out_who_is_ending(chip_id: UUID) -> None:
    bridge = a_bridge(max_chips=5)
    a_bridge(is_draining=True)
    claim(chip_id, bridge)
    (load,) = living_bridges(now=NOW)
    assert (load.bridge_id, load.holds, load.room) == (bridge, 1, 4)
    assert living_bridges(now=NOW + DEAD_AFTER + SECOND) == []


def test_a_write_is_whole_or_absent(chip_id: UUID) -> None:
    bridge = a_bridge()
    claim(chip_id, bridge)
    write(chip_id, bridge, 1, {NAMES[0]: b"a", NAMES[1]: b"b"})
    write(chip_id, bridge, 1, {NAMES[0]: None, NAMES[1]: b"b2", NAMES[2]: b"c"})
    assert signal_keys(chip_id, bridge, 1, NAMES) == {NAMES[1]: b"b2", NAMES[2]: b"c"}
    broken: Any = {NAMES[1]: None, NAMES[0]: object()}  # the removal is done when the second statement fails
    with pytest.raises(ProgrammingError):
        write_state(chip_id, bridge, 1, creds=b"newer", keys=broken, clear=True, now=NOW)
    assert signal_keys(chip_id, bridge, 1, NAMES) == {NAMES[1]: b"b2", NAMES[2]: b"c"}
    assert claim(chip_id, bridge).creds == b"sealed creds"


def test_clearing_removes_the_keys_and_keeps_the_credentials(chip_id: UUID) -> None:
    bridge = a_bridge()
    claim(chip_id, bridge)
    write(chip_id, bridge, 1, {NAMES[0]: b"a", NAMES[1]: b"b"})
    write_state(chip_id, bridge, 1, creds=None, keys={NAMES[2]: b"c"}, clear=True, now=NOW)
    assert signal_keys(chip_id, bridge, 1, NAMES) == {NAMES[2]: b"c"}
    hold = hold_of(chip_id)
    assert hold is not None
    assert hold.creds == b"sealed creds"


def test_812_keys_are_one_step(chip_id: UUID) -> None:
    bridge = a_bridge()
    claim(chip_id, bridge)
    many: dict[bytes, bytes | None] = {number.to_bytes(32, "big"): b"x" * 230 for number in range(812)}
    write(chip_id, bridge, 1, many)
    assert signal_keys(chip_id, bridge, 1, list(many)) == many


def test_two_writers_of_one_chip_do_not_mix(chip_id: UUID) -> None:
    """The one that was fenced off in the middle is refused as a whole, whoever comes first."""
    dead, heir = a_bridge(), a_bridge()
    claim(chip_id, dead)
    end_bridge(dead, now=NOW)

    def late(_: int) -> str | None:
        try:
            write(chip_id, dead, 1, dict.fromkeys(NAMES, b"dead"))
        except WhagoError as error:
            return error.code
        return None

    def rightful(_: int) -> str | None:
        epoch = claim(chip_id, heir).epoch
        write(chip_id, heir, epoch, dict.fromkeys(NAMES, b"heir"))
        return None

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(late, range(8)))
        pool.submit(rightful, 0).result()
        told += list(pool.map(late, range(8)))
    assert set(told) == {"hold_lost"}
    assert set(signal_keys(chip_id, heir, 2, NAMES).values()) == {b"heir"}


def test_releasing_keeps_the_pairing_and_wiping_does_not(chip_id: UUID) -> None:
    bridge, other = a_bridge(), a_bridge()
    claim(chip_id, bridge)
    write(chip_id, bridge, 1, {NAMES[0]: b"a"})
    release_chip(chip_id, bridge, 1, wipe=False)
    taken = claim(chip_id, other)
    assert taken.creds == b"sealed creds"
    release_chip(chip_id, other, taken.epoch, wipe=True)
    fresh = claim(chip_id, bridge)
    assert (fresh.creds, fresh.epoch) == (None, 3)
    assert fresh.state_key != taken.state_key
    assert signal_keys(chip_id, bridge, 3, NAMES) == {}


def test_forgetting_is_for_chips_that_do_not_run(chip_id: UUID) -> None:
    bridge, other = a_bridge(), a_bridge()
    forget_chip(chip_id, other, now=NOW)  # nothing is kept yet
    claim(chip_id, bridge)
    write(chip_id, bridge, 1)
    with refused("chip_held"):
        forget_chip(chip_id, other, now=NOW)
    end_bridge(bridge, now=NOW)
    forget_chip(chip_id, other, now=NOW)
    assert claim(chip_id, other).creds is None


def test_a_deleted_chip_leaves_no_keys(database: str) -> None:
    make_ready_pool()
    user = make_user("enterprise")
    bridge = a_bridge()
    for end in (lambda chip: delete_chip(user.id, chip, now=NOW), undo_chip_creation):
        chip = make_chip(user, engine=Engine.BRIDGE).chip_id
        claim(chip, bridge)
        write(chip, bridge, 1, {NAMES[0]: b"a"})
        end(chip)
        with transaction() as db:
            counts = [db.scalar(select(func.count()).select_from(table)) for table in (ChipHold, ChipSignalKey)]
        assert counts == [0, 0]


def test_a_new_secret_opens_what_an_old_one_sealed_and_seals_it_again(chip_id: UUID) -> None:
    bridge = a_bridge()
    before = claim(chip_id, bridge)
    newer = "another-secret-key-with-more-than-32-characters"
    both = Vault([newer, SECRET])
    assert claim_chip(chip_id, bridge, vault=both, now=NOW).state_key == before.state_key
    keys_of_chips = SealedColumn("keys", ChipHold.chip_id, ChipHold.state_key)
    assert reseal(keys_of_chips, [chip_id], vault=both) == (1, frozenset())
    assert claim_chip(chip_id, bridge, vault=Vault([newer]), now=NOW).state_key == before.state_key
    with refused("unavailable"):
        claim_chip(chip_id, bridge, vault=Vault(["a-secret-key-that-never-was-used-for-anything"]), now=NOW)


def test_what_a_bridge_could_not_tell_before_it_claimed_again_is_still_heard(chip_id: UUID) -> None:
    """The backend was away: the bridge closed the chip, took it again, and then sends what had to wait."""
    bridge, other = a_bridge(), a_bridge()
    claim(chip_id, bridge)
    claim(chip_id, bridge)
    assert set_chip_status(chip_id, ChipStatus.BLOCKED_QUOTA, now=NOW, event_no=5, epoch=1)
    assert set_chip_status(chip_id, ChipStatus.CONNECTED, now=NOW, event_no=6, epoch=2)
    release_chip(chip_id, bridge, 2, wipe=False)
    assert claim(chip_id, other).epoch == 3
    assert not set_chip_status(chip_id, ChipStatus.DISCONNECTED, now=NOW, event_no=7, epoch=2)


def test_what_a_bridge_says_that_lost_the_chip_changes_nothing(chip_id: UUID) -> None:
    old, new = a_bridge(), a_bridge()
    claim(chip_id, old)

    def say(status: ChipStatus, *, event_no: int, epoch: int) -> bool:
        return set_chip_status(chip_id, status, now=NOW, event_no=event_no, epoch=epoch)

    assert say(ChipStatus.CONNECTED, event_no=5, epoch=1)
    end_bridge(old, now=NOW)
    taken = claim(chip_id, new)
    assert taken.last_event_no == 5
    assert not say(ChipStatus.DISCONNECTED, event_no=99, epoch=1)
    assert say(ChipStatus.CONNECTING, event_no=6, epoch=2)
    release_chip(chip_id, new, 2, wipe=False)
    assert say(ChipStatus.DISCONNECTED, event_no=7, epoch=2)  # its last word comes after it gave the chip back
    with transaction() as db:
        assert db.get_one(Chip, chip_id).status == ChipStatus.DISCONNECTED
