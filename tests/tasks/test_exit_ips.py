"""Exit IPs through a simulated vendor: looked at in time, changes and shared ones found, and what follows from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_chip, make_plan, make_provider, make_proxy, make_user
from whago.domain.actions.assignments import rotate_proxy
from whago.domain.actions.chips import delete_chip, set_chip_status, undo_chip_creation
from whago.domain.actions.exit_ips import accept_exit_ip
from whago.domain.models import (
    Assignment,
    ChipEvent,
    ChipStatus,
    ExitIpDuplicate,
    ExitIpObservation,
    Notification,
    ProbeDay,
    Proxy,
    User,
)
from whago.domain.models.alerting import Alert
from whago.domain.queries.continuity import continuity_by_provider
from whago.domain.queries.passes import chip_at_gate
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.simulator import SimulatedProvider
from whago.tasks.clock import Tools
from whago.tasks.exit_ips import PROBES_PER_RUN, ExitWatch, roll_days

PAGE = "http://ip.simulated.test/json"
HOUR = timedelta(hours=1)


@pytest.fixture
def tools(database: str) -> Tools:
    return Tools(Vault([SECRET]), TZ, allow_private_upstreams=True)


@pytest.fixture(scope="module")
def _simulated() -> Iterator[SimulatedProvider]:
    with SimulatedProvider(statics=2) as running:
        yield running


@pytest.fixture
def simulated(_simulated: SimulatedProvider) -> Iterator[SimulatedProvider]:
    yield _simulated
    _simulated.reset()


@pytest.fixture
def proxy(tools: Tools, simulated: SimulatedProvider) -> Proxy:
    """A rotating proxy at the simulated provider."""
    return make_proxy(make_provider(tools.vault, port=simulated.port, ip_check_url=PAGE))


@pytest.fixture
def owner(database: str) -> User:
    return make_user(make_plan(max_chips=1000))


def rows(model: type[Any], *, by: str = "id") -> list[Any]:
    with db.transaction() as tx:
        return list(tx.scalars(select(model).order_by(text(by))))


def execute(sql: str, **values: Any) -> None:
    with db.transaction() as tx:
        tx.execute(text(sql), values)


def assignment(chip_id: UUID) -> Assignment:
    with db.transaction() as tx:
        return tx.scalars(
            select(Assignment).where(Assignment.chip_id == chip_id, Assignment.released_at.is_(None))
        ).one()


def events(chip_id: UUID) -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(ChipEvent.kind).where(ChipEvent.chip_id == chip_id).order_by(ChipEvent.id)))


def open_alerts(kind: str) -> list[Alert]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Alert).where(Alert.kind == kind, Alert.cleared_at.is_(None))))


def policy(value: str) -> None:
    execute("UPDATE proxy_providers SET exit_ip_policy = :value", value=value)


def refusal(tools: Tools, chip_id: UUID) -> str | None:
    at_gate = chip_at_gate(chip_id, tools.vault)
    assert at_gate is not None
    return at_gate.reason


def test_a_new_chip_s_exit_is_seen_at_once_and_then_at_the_provider_s_interval(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    chip = make_chip(owner)
    watch = ExitWatch()
    assert watch.observe(tools, NOW)["seen"] == 1
    assert watch.observe(tools, NOW + timedelta(minutes=5))["seen"] == 0
    assert watch.observe(tools, NOW + timedelta(minutes=61))["seen"] == 1
    (seen,) = rows(ExitIpObservation)
    assert (seen.chip_id, seen.observations, seen.country) == (chip.chip_id, 2, "BR")
    assert seen.asn.startswith("AS")
    one = assignment(chip.chip_id)
    assert str(one.exit_ip) == str(seen.exit_ip) == simulated.session(one.session_token)["exit_ip"]
    execute("UPDATE proxy_providers SET exit_ip_every_min = 5")
    assert watch.observe(tools, NOW + timedelta(minutes=67))["seen"] == 1


def test_a_chip_that_reconnects_is_looked_at_again_though_not_at_every_try(
    tools: Tools, proxy: Proxy, owner: User
) -> None:
    chip = make_chip(owner)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    later = NOW + timedelta(minutes=10)
    set_chip_status(chip.chip_id, ChipStatus.CONNECTED, now=later)
    assert watch.observe(tools, later + timedelta(seconds=5))["seen"] == 1
    set_chip_status(chip.chip_id, ChipStatus.CONNECTED, now=later + timedelta(seconds=20))
    assert watch.observe(tools, later + timedelta(seconds=25))["seen"] == 0
    assert watch.observe(tools, later + timedelta(seconds=70))["seen"] == 1
    assert watch.observe(tools, later + timedelta(seconds=140))["seen"] == 0


def test_a_look_is_on_the_house_to_the_byte(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    before = simulated.state()["accounts"]["demo"]["wire_total"]
    make_chip(owner)
    ExitWatch().observe(tools, NOW)
    (spent,) = rows(ProbeDay, by="day")
    assert (spent.provider_id, spent.purpose, spent.probes) == (proxy.provider_id, "exit_ip", 1)
    assert spent.bytes == simulated.state()["accounts"]["demo"]["wire_total"] - before > 0
    assert spent.cost == spent.bytes * Decimal(25) / 10**9
    with db.transaction() as tx:
        assert tx.scalar(text("SELECT count(*) FROM proxy_usage_logs")) == 0  # no customer paid for it


def test_a_silent_change_is_an_event_an_alert_and_a_new_stretch(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    chip = make_chip(owner, alias="vendas")
    watch = ExitWatch()
    watch.observe(tools, NOW)
    before = str(assignment(chip.chip_id).exit_ip)
    after = simulated.drift(assignment(chip.chip_id).session_token)
    assert watch.observe(tools, NOW + 2 * HOUR)["changed"] == 1
    assert [str(one.exit_ip) for one in rows(ExitIpObservation, by="first_seen_at")] == [before, after]
    assert "exit_ip_changed" in events(chip.chip_id)
    (alert,) = open_alerts("exit_ip_changed")
    assert (alert.subject, alert.user_id) == (str(chip.chip_id), owner.id)
    assert (alert.data["before"], alert.data["after"], alert.data["alias"]) == (before, after, "vendas")
    (told,) = rows(Notification)
    assert (told.user_id, told.kind) == (owner.id, "exit_ip_changed")
    assert refusal(tools, chip.chip_id) is None
    assert watch.observe(tools, NOW + 3 * HOUR + timedelta(minutes=1))["changed"] == 0
    assert open_alerts("exit_ip_changed") == []  # the new exit has lasted


def test_a_tolerant_provider_s_change_is_history_and_nothing_else(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    policy("tolerate")
    chip = make_chip(owner)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    simulated.drift(assignment(chip.chip_id).session_token)
    assert watch.observe(tools, NOW + 2 * HOUR)["changed"] == 1
    assert "exit_ip_changed" in events(chip.chip_id)
    assert rows(Alert) == []


def test_a_chip_is_paused_until_its_owner_accepts_the_new_exit(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    policy("pause")
    chip = make_chip(owner)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    assert refusal(tools, chip.chip_id) is None
    with pytest.raises(WhagoError, match="not paused"):
        accept_exit_ip(owner.id, chip.chip_id, now=NOW)
    after = simulated.drift(assignment(chip.chip_id).session_token)
    assert watch.observe(tools, NOW + 2 * HOUR)["paused"] == 1
    assert refusal(tools, chip.chip_id) == "exit_ip_changed"
    assert watch.observe(tools, NOW + 4 * HOUR)["paused"] == 1  # time alone does not make it right
    assert [one.severity for one in open_alerts("exit_ip_changed")] == ["error"]
    with pytest.raises(WhagoError, match="Not found"):
        accept_exit_ip(make_user().id, chip.chip_id, now=NOW)
    accept_exit_ip(owner.id, chip.chip_id, now=NOW + 5 * HOUR)
    assert refusal(tools, chip.chip_id) is None
    assert open_alerts("exit_ip_changed") == []
    assert str(assignment(chip.chip_id).expected_exit_ip) == after
    assert events(chip.chip_id)[-4:] == ["exit_ip_changed", "paused", "exit_ip_accepted", "resumed"]


def test_a_paused_chip_is_free_again_with_another_proxy(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    policy("pause")
    chip = make_chip(owner)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    simulated.drift(assignment(chip.chip_id).session_token)
    watch.observe(tools, NOW + 2 * HOUR)
    assert refusal(tools, chip.chip_id) == "exit_ip_changed"
    rotate_proxy(owner.id, chip.chip_id, now=NOW + 2 * HOUR)
    assert refusal(tools, chip.chip_id) is None
    watch.observe(tools, NOW + 2 * HOUR + timedelta(seconds=15))
    assert open_alerts("exit_ip_changed") == []


def test_a_paused_chip_goes_on_when_its_own_exit_is_back(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    policy("pause")
    chip, helper = make_chip(owner), make_chip(owner)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    mine, other = (assignment(one.chip_id).session_token for one in (chip, helper))
    home = simulated.session(mine)["exit_ip"]
    simulated.duplicate(mine, other)  # keeps the address while its session is elsewhere
    simulated.drift(mine)
    delete_chip(owner.id, helper.chip_id, now=NOW)
    watch.observe(tools, NOW + 2 * HOUR)
    assert refusal(tools, chip.chip_id) == "exit_ip_changed"
    assert simulated.duplicate(other, mine) == home
    watch.observe(tools, NOW + 4 * HOUR)
    assert refusal(tools, chip.chip_id) is None
    assert events(chip.chip_id)[-2:] == ["exit_ip_returned", "resumed"]
    assert open_alerts("exit_ip_changed") == []


def test_two_chips_on_one_exit_are_told_apart_by_moving_the_younger_once(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    admin = make_user(role="admin")
    older, younger = make_chip(owner, now=NOW - HOUR), make_chip(owner, alias="nova", now=NOW)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    kept = assignment(older.chip_id)
    shared = simulated.duplicate(kept.session_token, assignment(younger.chip_id).session_token)
    assert watch.observe(tools, NOW + 2 * HOUR)["shared"] == 1
    assert assignment(older.chip_id).id == kept.id
    moved = assignment(younger.chip_id)
    assert (moved.assign_reason, moved.exit_ip) == ("duplicate_exit_ip", None)
    (alert,) = open_alerts("duplicate_exit_ip")
    assert (alert.subject, alert.data["alias"]) == (shared, "nova")
    assert {one.user_id for one in rows(Notification) if one.kind == "duplicate_exit_ip"} == {owner.id, admin.id}
    assert watch.observe(tools, NOW + 2 * HOUR + timedelta(seconds=15))["seen"] == 1
    assert open_alerts("duplicate_exit_ip") == []
    (found,) = rows(ExitIpDuplicate)
    assert (str(found.exit_ip), found.younger_chip_id) == (shared, younger.chip_id)
    assert found.rotated_at is not None
    assert found.over_at is not None
    assert len({str(assignment(one.chip_id).exit_ip) for one in (older, younger)}) == 2


def test_a_chip_that_shares_an_exit_again_is_not_moved_again_and_again(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    older, younger = make_chip(owner, now=NOW - HOUR), make_chip(owner, now=NOW)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    for step in range(1, 4):
        simulated.duplicate(assignment(older.chip_id).session_token, assignment(younger.chip_id).session_token)
        watch.observe(tools, NOW + step * 2 * HOUR)
        watch.observe(tools, NOW + step * 2 * HOUR + timedelta(seconds=15))
    assert events(younger.chip_id).count("proxy_released") == 1
    assert len(open_alerts("duplicate_exit_ip")) == 1


def test_an_exit_that_its_chip_has_left_meanwhile_is_no_shared_one(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    """The vendor gives an address on: what stands in our records of its last holder is simply old."""
    first, second = make_chip(owner, now=NOW - HOUR), make_chip(owner, now=NOW)
    watch = ExitWatch()
    watch.observe(tools, NOW)
    mine, other = (assignment(one.chip_id).session_token for one in (first, second))
    simulated.duplicate(mine, other)
    simulated.drift(mine)
    execute(
        "UPDATE exit_ip_observations SET last_seen_at = now() + interval '1 year' WHERE chip_id = :c", c=first.chip_id
    )  # only the second one's turn has come
    counts = watch.observe(tools, NOW + 2 * HOUR)
    assert (counts["seen"], counts["shared"]) == (1, 0)
    assert rows(ExitIpDuplicate) == open_alerts("duplicate_exit_ip") == []
    assert len(events(first.chip_id)) > 2  # the second look found its change


def test_one_address_behind_two_static_proxies_of_two_providers_is_found(
    tools: Tools, owner: User, simulated: SimulatedProvider
) -> None:
    host, port, username, password = simulated.static_list()[0].split(":")
    login = tools.vault.seal({"username": username, "password": password})
    for number in range(2):
        provider = make_provider(tools.vault, host=None, port=None, ip_check_url=PAGE, priority=number)
        make_proxy(provider, proxy_type="static", proxy_url=f"http://{host}:{port}", credentials=login)
        make_chip(owner, now=NOW + timedelta(seconds=number))
    watch = ExitWatch()
    assert watch.observe(tools, NOW)["shared"] == 1
    (found,) = rows(ExitIpDuplicate)
    assert found.rotated_at is None  # there is no other proxy: the chip stays, and the alert with it
    assert len(open_alerts("duplicate_exit_ip")) == 1
    make_proxy(make_provider(tools.vault, port=simulated.port, ip_check_url=PAGE, priority=9))
    watch.observe(tools, NOW + 2 * HOUR)
    watch.observe(tools, NOW + 2 * HOUR + timedelta(seconds=15))
    assert open_alerts("duplicate_exit_ip") == []


def test_every_chip_shows_its_own_exit(tools: Tools, proxy: Proxy, owner: User) -> None:
    chips = [make_chip(owner).chip_id for _ in range(10)]
    assert ExitWatch().observe(tools, NOW)["seen"] == 10
    assert {one.chip_id for one in rows(ExitIpObservation)} == set(chips)
    assert len({str(one.exit_ip) for one in rows(ExitIpObservation)}) == 10


def test_an_exit_that_does_not_answer_is_asked_less_and_less(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    make_chip(owner)
    simulated.switch(refuse_connect=503)
    watch = ExitWatch()
    asked = [watch.observe(tools, NOW + timedelta(seconds=15 * step))["failed"] for step in range(20)]
    assert asked[0] == 1
    assert sum(asked) == 4  # at 0, 30, 90 and 210 s
    simulated.reset()
    assert watch.observe(tools, NOW + HOUR)["seen"] == 1


def test_deleted_chips_are_not_observed(tools: Tools, proxy: Proxy, owner: User) -> None:
    delete_chip(owner.id, make_chip(owner).chip_id, now=NOW)
    undo_chip_creation(make_chip(owner).chip_id)
    assert ExitWatch().observe(tools, NOW)["seen"] == 0


def test_a_provider_s_continuity_is_a_number(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    chips = [make_chip(owner).chip_id for _ in range(4)]
    watch = ExitWatch()
    watch.observe(tools, NOW)
    watch.observe(tools, NOW + 2 * HOUR)
    simulated.drift(assignment(chips[0]).session_token)
    watch.observe(tools, NOW + 4 * HOUR)
    rotate_proxy(owner.id, chips[1], now=NOW + 5 * HOUR)  # wished for, so no break
    watch.observe(tools, NOW + 5 * HOUR)
    assert roll_days(tools, NOW + 6 * HOUR)["providers"] == 1
    measure = continuity_by_provider(now=NOW + 6 * HOUR, tz=TZ)[proxy.provider_id]
    assert (measure.chip_days, measure.steady_chip_days, measure.steady_percent) == (4, 3, 75.0)
    assert measure.changes == 1
    assert measure.median_life is not None
    assert measure.median_life.is_least  # one of five addresses was lost: half of them still live
    execute("DELETE FROM exit_ip_observations")
    roll_days(tools, NOW + timedelta(days=10))
    kept = continuity_by_provider(now=NOW + timedelta(days=10), tz=TZ)[proxy.provider_id]
    assert (kept.chip_days, kept.steady_percent) == (4, 75.0)  # what was counted outlives the observations
    assert (kept.changes, kept.median_life) == (0, None)  # but lives are measured anew


def test_changes_and_shared_exits_injected_at_random_are_all_found_and_nothing_else(
    tools: Tools, proxy: Proxy, owner: User, simulated: SimulatedProvider
) -> None:
    """Sixty chips over six simulated hours, the second of them without any mischief."""
    dice = random.Random(20261115)
    chips = [make_chip(owner, now=NOW + timedelta(seconds=number)).chip_id for number in range(60)]
    watch = ExitWatch()

    def run(began: datetime, minutes: int) -> None:
        """The clock of fifteen seconds, in simulated time; now and then a chip reconnects."""
        for quarter in range(minutes * 4):
            at = began + timedelta(seconds=15 * quarter)
            if quarter % 8 == 0:
                set_chip_status(dice.choice(chips), ChipStatus.CONNECTED, now=at)
            watch.observe(tools, at)

    run(NOW, 70)
    quiet = NOW + timedelta(minutes=70)
    run(quiet, 60)
    assert [one for one in rows(ChipEvent) if one.kind == "exit_ip_changed"] == []
    assert rows(Alert) == rows(ExitIpDuplicate) == []

    changed: dict[UUID, int] = {}
    shared = 0
    for hour in range(4):
        began = quiet + timedelta(hours=1) + hour * timedelta(minutes=80)
        victims = dice.sample(chips, 10)
        for chip_id in victims[:6]:
            simulated.drift(assignment(chip_id).session_token)
            changed[chip_id] = changed.get(chip_id, 0) + 1
        for first, second in (victims[6:8], victims[8:10]):
            older, younger = sorted((assignment(first), assignment(second)), key=lambda one: one.assigned_at)
            simulated.duplicate(older.session_token, younger.session_token)
            changed[younger.chip_id] = changed.get(younger.chip_id, 0) + 1
            shared += 1
        run(began, 80)

    found: dict[UUID, int] = {}
    for event in rows(ChipEvent):
        if event.kind == "exit_ip_changed":
            found[event.chip_id] = found.get(event.chip_id, 0) + 1
    assert sum(changed.values()) == 4 * 8
    assert found == changed
    assert len(rows(ExitIpDuplicate)) == shared == 8
    assert open_alerts("duplicate_exit_ip") == []
    assert len({str(assignment(chip_id).exit_ip) for chip_id in chips}) == len(chips)
    assert len(chips) > PROBES_PER_RUN  # so the first hour also spread the looks over several runs
