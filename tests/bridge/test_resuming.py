"""Chips of our bridges come back: after a bridge was restarted or died, and after their customer has quota again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest

from tests.actions.test_record_usage import a_boot, a_usage
from tests.bridge.conftest import SECRET, Backend, BridgeProcess, Edge, Gateway, eventually, start_bridge
from tests.factories import TZ, make_chip, make_plan, make_ready_pool, make_user
from whago.bridge.client import BridgeClient
from whago.bridge.fleet import BridgeFleet
from whago.domain.actions.chips import delete_chip, set_chip_status
from whago.domain.actions.record_usage import record_usage
from whago.domain.models import Chip, ChipStatus, Engine, User
from whago.domain.rules.holds import BEAT_EVERY_S, DEAD_AFTER
from whago.domain.rules.thrift import Thrift
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.tasks.bridge import EVERY_S, resume_chips
from whago.tasks.clock import Counts, Tools

pytestmark = pytest.mark.timeout(900)  # several processes are started; each takes seconds, or many on a busy machine


class Site:
    """Bridges that a test starts, and the clock that places chips on them."""

    def __init__(self, edge: Edge, gateway: Gateway, backend: Backend, tools: Tools) -> None:
        self.edge = edge
        self.gateway = gateway
        self.backend = backend
        self.tools = tools
        self.bridges: list[BridgeProcess] = []

    def start(self, **changes: str) -> BridgeProcess:
        """One more, once the backend has heard of it."""
        bridge = start_bridge(self.edge, self.gateway.address, self.backend.url, **changes)
        self.bridges.append(bridge)
        eventually(self.addresses, lambda urls: bridge.url in urls, "a sign of life")
        return bridge

    def addresses(self) -> set[str]:
        assert self.tools.bridge is not None
        return {load.url for load in self.tools.bridge.loads()}

    def tick(self) -> Counts:
        return resume_chips(self.tools, clock.now())

    def states(self) -> dict[UUID, str]:
        assert self.tools.bridge is not None
        return {chip_id: chip.state for chip_id, chip in self.tools.bridge.roll().chips.items()}

    def on(self, bridge: BridgeProcess) -> set[UUID]:
        with BridgeClient(bridge.url, SECRET) as client:
            return {chip.chip_id for chip in client.list().items if chip.runs}

    def until_on(self, chips: set[UUID], *bridges: BridgeProcess) -> None:
        """Ticks until just these chips run on these bridges together, each on one of them.

        However many ticks that takes: a dead bridge's chips may be noticed one after the other.
        """

        def running() -> list[UUID]:
            self.tick()
            return sorted(chip_id for bridge in bridges for chip_id in self.on(bridge))

        eventually(running, lambda there: there == sorted(chips), "the chips to run there, once each")

    def until(self, wanted: Callable[[dict[UUID, str]], bool], what: str) -> None:
        """Ticks until the states of all chips are as wanted."""

        def ticked() -> dict[UUID, str]:
            self.tick()
            return self.states()

        eventually(ticked, wanted, what)


@pytest.fixture
def site(database: str, vault: Vault, edge: Edge, gateway: Gateway, backend: Backend) -> Iterator[Site]:
    make_ready_pool()
    fleet = BridgeFleet(SECRET)
    site = Site(edge, gateway, backend, Tools(vault, TZ, bridge=fleet, gateway_address=gateway.address))
    yield site
    gateway.refusal = None
    for one in site.bridges:
        if one.process.poll() is None:
            one.stop()
    fleet.close()


def a_bridged_chip(user: User) -> UUID:
    chip_id = make_chip(user, engine=Engine.BRIDGE, now=clock.now()).chip_id
    set_chip_status(chip_id, ChipStatus.CONNECTING, now=clock.now())
    return chip_id


def status_of(chip_id: UUID) -> tuple[str, str | None]:
    with transaction() as db:
        chip = db.get_one(Chip, chip_id)
        return chip.status, chip.status_reason


def test_chips_come_back_after_the_only_bridge_was_killed(site: Site) -> None:
    chips = {a_bridged_chip(make_user("enterprise")) for _ in range(3)}
    stopped = a_bridged_chip(make_user("enterprise"))
    set_chip_status(stopped, ChipStatus.DISCONNECTED, now=clock.now(), reason="stopped_by_user")
    first = site.start()
    site.until_on(chips, first)
    assert site.tick()["resumed"] == 0
    first.kill()
    # At the same address, as a supervisor starts it: nobody has to wait until the first one is given up.
    second = site.start(BRIDGE_PORT=first.url.rpartition(":")[2])
    site.until_on(chips, second)


def test_a_bridge_that_stops_in_order_leaves_its_chips_to_the_others(site: Site) -> None:
    chips = {a_bridged_chip(make_user("enterprise")) for _ in range(2)}
    first = site.start()
    site.until_on(chips, first)
    second = site.start()
    assert first.stop() == 0
    site.until_on(chips, second)
    assert {status_of(chip_id)[0] for chip_id in chips} <= {"connecting", "waiting_qr"}


def test_chips_are_spread_over_the_bridges_by_what_each_may_run(site: Site) -> None:
    small, large = site.start(BRIDGE_MAX_CHIPS="2"), site.start(BRIDGE_MAX_CHIPS="4")
    chips = [a_bridged_chip(make_user("enterprise")) for _ in range(7)]

    def counts() -> tuple[int, int]:
        site.tick()
        return len(site.on(small)), len(site.on(large))

    eventually(counts, lambda there: there == (2, 4), "both to be full")
    assert site.tick()["resumed"] == 0  # one has no room, and keeps its credential
    third = site.start()
    site.until_on(set(chips), small, large, third)
    assert len(site.on(third)) == 1


def test_the_chips_of_a_bridge_that_died_run_elsewhere(site: Site) -> None:
    dying, surviving = site.start(BRIDGE_MAX_CHIPS="3"), site.start(BRIDGE_MAX_CHIPS="3")
    chips = {a_bridged_chip(make_user("enterprise")) for _ in range(4)}
    site.until_on(chips, dying, surviving)
    moved, stayed = site.on(dying), site.on(surviving)
    assert moved
    assert stayed
    third = site.start(BRIDGE_MAX_CHIPS="3")
    dying.kill()
    site.until_on(chips, surviving, third)
    assert stayed <= site.on(surviving)  # what runs is left alone
    site.until(lambda seen: set(seen) == chips and set(seen.values()) == {"qr"}, "all to wait for their phones again")


def test_the_times_add_up_to_less_than_half_a_minute() -> None:
    connecting = timedelta(seconds=5)  # claim, CONNECT, TLS, login: about a second, and a busy machine
    assert DEAD_AFTER + timedelta(seconds=EVERY_S) + connecting <= timedelta(seconds=30)
    assert timedelta(seconds=4 * BEAT_EVERY_S) < DEAD_AFTER


def test_a_pairing_survives_the_death_of_its_bridge(site: Site) -> None:
    chip_id = a_bridged_chip(make_user("enterprise"))
    first = site.start()
    site.until_on({chip_id}, first)
    fleet = site.tools.bridge
    assert fleet is not None
    pairing = eventually(lambda: fleet.qr(chip_id), lambda pairing: pairing is not None, "the QR code")
    assert pairing is not None
    site.edge.tell("scan", qr=pairing.qr, phone="5511900000077")
    eventually(site.states, lambda seen: seen.get(chip_id) == "open", "the pairing")
    logins = site.edge.state()["logins"].count("5511900000077")
    first.kill()
    site.start(BRIDGE_PORT=first.url.rpartition(":")[2])
    site.until(lambda seen: seen.get(chip_id) == "open", "the chip on the other bridge")
    assert site.edge.state()["logins"].count("5511900000077") > logins  # with the pairing that it had
    eventually(lambda: status_of(chip_id), lambda status: status == ("connected", None), "the status")


def test_a_bridge_without_the_backend_closes_its_chips_and_opens_them_again(site: Site) -> None:
    chip_id = a_bridged_chip(make_user("enterprise"))
    bridge = site.start()
    site.until(lambda seen: seen.get(chip_id) == "qr", "the QR code")
    site.backend.stop()
    with BridgeClient(bridge.url, SECRET) as client:
        chip = eventually(
            lambda: client.get(chip_id), lambda chip: chip is not None and chip.state == "backoff", "the chip to close"
        )
        assert chip is not None
        assert chip.last_error is not None
        assert chip.last_error.reason == "backend_unreachable"
        site.backend.start()
        eventually(lambda: client.get(chip_id), lambda chip: chip is not None and chip.state == "qr", "its return")


def test_a_chip_without_quota_stays_blocked_and_is_resumed_when_there_is_some(site: Site) -> None:
    poor, rich = make_user(make_plan(proxy_gb_limit=Decimal("0.000001"))), make_user("enterprise")
    chip_of_poor, chip_of_rich = a_bridged_chip(poor), a_bridged_chip(rich)
    site.gateway.refusal = (402, "quota_exhausted")
    bridge = site.start()
    site.until_on({chip_of_poor, chip_of_rich}, bridge)
    both = {chip_of_poor: "proxy_blocked", chip_of_rich: "proxy_blocked"}
    eventually(site.states, lambda seen: seen == both, "both to be blocked")
    record_usage(a_boot(), [a_usage(poor)], now=clock.now(), tz=TZ)
    site.gateway.refusal = None
    site.until(lambda seen: seen.get(chip_of_rich) == "qr", "the one with quota to go on")
    assert site.states()[chip_of_poor] == "proxy_blocked"


def test_a_chip_is_resumed_with_its_own_thrift(site: Site) -> None:
    chip_id = a_bridged_chip(make_user("enterprise"))
    with transaction() as db:
        db.get_one(Chip, chip_id).thrift = Thrift("recent", 45).kept()
    site.until_on({chip_id}, site.start())
    assert site.tools.bridge is not None
    chip = site.tools.bridge.get(chip_id)
    assert chip is not None
    assert (chip.history, chip.keep_alive_s) == ("recent", 45)


def test_a_chip_that_was_deleted_meanwhile_is_ended(site: Site) -> None:
    user = make_user("enterprise")
    chip_id = a_bridged_chip(user)
    bridge = site.start()
    site.until_on({chip_id}, bridge)
    delete_chip(user.id, chip_id, now=clock.now())
    with BridgeClient(bridge.url, SECRET) as client:
        eventually(lambda: (site.tick(), client.list().items)[1], lambda items: items == [], "the chip to be ended")
