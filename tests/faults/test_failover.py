"""A provider dies under two hundred chips; a worker dies in the middle of moving them."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, text, update

from tests.conftest import SECRET
from tests.factories import TZ, make_chip, make_plan, make_provider, make_proxy, make_user
from tests.faults.fleet import Fleet
from tests.spine.conftest import GatewayProcess
from whago.domain.models import Alert, Assignment, Chip, ChipEvent, Provider, Proxy
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.simulator import SimulatedProvider
from whago.tasks.clock import Tools
from whago.tasks.failover import GUARD_EVERY_S, guard
from whago.tasks.health import sweep

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHIPS = 200
GRACE_S = 3.0
PROMISED_S = 15  # after the grace every chip is on the other provider
PAGE = "http://ip.simulated.test/json"
PATIENCE_S = 120.0  # of a busy machine, for what is not promised within a time
KILLS = 12


@pytest.fixture
def tools(database: str) -> Tools:
    return Tools(Vault([SECRET]), TZ, allow_private_upstreams=True, failover_grace_s=GRACE_S)


@pytest.fixture
def gateway(database: str, tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(database, tmp_path)
    process.start()
    yield process
    process.stop()


def rows() -> list[Assignment]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Assignment).order_by(Assignment.assigned_at)))


def active() -> list[Assignment]:
    return [one for one in rows() if one.released_at is None]


def on(provider: Provider) -> int:
    return sum(one.provider_id == provider.id for one in active())


def patiently(condition: Callable[[], bool], between: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        between()
        time.sleep(0.2)


def all_are_gone() -> bool:
    """Every session has been failing for the grace, as its gateway reported."""
    ripe = clock.now() - timedelta(seconds=GRACE_S)
    return all(one.failing_since is not None and one.failing_since <= ripe and one.failures >= 2 for one in active())


def test_a_provider_dies_under_two_hundred_chips(tools: Tools, gateway: GatewayProcess) -> None:
    with SimulatedProvider() as a, SimulatedProvider(exit_network="127.128.0.0/10") as b:
        first = make_provider(tools.vault, port=a.port, ip_check_url=PAGE, priority=1, name="A")
        second = make_provider(tools.vault, port=b.port, ip_check_url=PAGE, priority=2, name="B")
        dead = make_proxy(first)
        others = [make_proxy(second, max_chips=size) for size in (80, 80, 80)]
        user = make_user(make_plan(max_chips=CHIPS, proxy_gb_limit=None))
        chips = [make_chip(user, now=clock.now()) for _ in range(CHIPS)]
        assert on(first) == CHIPS
        with Fleet(gateway.port, [(one.chip_id, one.gateway_token) for one in chips]) as fleet:
            patiently(lambda: len(fleet.seen) == CHIPS, lambda: guard(tools, clock.now()))
            before = dict(fleet.seen)
            assert len(set(before.values())) == CHIPS
            assert len(rows()) == CHIPS, "nothing moved while all was well"

            a.switch(refuse_connect=503)
            a.cut()

            def clocks() -> None:
                sweep(tools, clock.now())
                guard(tools, clock.now())

            patiently(lambda: on(first) == 0 or all_are_gone(), clocks)
            rounds = 0
            while on(second) < CHIPS:
                assert rounds * GUARD_EVERY_S < PROMISED_S, f"{on(second)} chips moved in {rounds} rounds"
                clocks()
                rounds += 1

            patiently(lambda: len(fleet.seen) == CHIPS, lambda: guard(tools, clock.now()))
            assert len(set(fleet.seen.values())) == CHIPS, "two chips share an IP"
            assert not set(fleet.seen.values()) & set(before.values())
            assert_one_new_row_each([one.chip_id for one in chips])
            shares = [sum(row.proxy_id == one.id for row in active()) for one in others]
            assert sum(shares) == CHIPS
            assert max(shares) <= 80
            assert min(shares) >= 40, "no stampede"

            a.reset()
            for minute in range(1, 31):
                later = clock.now() + timedelta(minutes=minute)
                sweep(tools, later)
                assert guard(tools, later).get("moved", 0) == 0
            with db.transaction() as tx:
                assert tx.get_one(Proxy, dead.id).ejected_until is None
                assert set(tx.scalars(select(Alert.kind).where(Alert.cleared_at.is_(None)))) == set()
            assert len(rows()) == 2 * CHIPS, "A came back and nothing flapped"
            assert len(fleet.seen) == CHIPS


def assert_one_new_row_each(chip_ids: list[UUID]) -> None:
    for chip_id in chip_ids:
        old, new = sorted((one for one in rows_of(chip_id)), key=lambda one: one.released_at is None)
        assert old.released_at == new.assigned_at
        assert new.released_at is None
        assert (old.release_reason, new.assign_reason) == ("failover_provider", "failover_provider")


def rows_of(chip_id: UUID) -> list[Assignment]:
    with db.transaction() as tx:
        return list(tx.scalars(select(Assignment).where(Assignment.chip_id == chip_id)))


def test_a_worker_that_is_killed_in_the_middle_leaves_no_chip_half_moved(database: str, vault: Vault) -> None:
    first, second = make_provider(vault, priority=1), make_provider(vault, priority=2)
    make_proxy(first)
    alive = make_proxy(second)
    user = make_user(make_plan(max_chips=CHIPS))
    chips = [make_chip(user, now=clock.now() - timedelta(hours=1)).chip_id for _ in range(CHIPS)]
    with db.transaction() as tx:
        ago = clock.now() - timedelta(minutes=1)
        tx.execute(update(Assignment).values(failures=3, failing_since=ago, first_ok_at=ago))
        tx.execute(update(Proxy).where(Proxy.provider_id == first.id).values(consecutive_failures=9))
        tx.execute(
            update(Proxy).where(Proxy.id == alive.id).values(last_ok_at=clock.now() + timedelta(hours=1))
        )  # it answers all the time
    chance = random.Random(7)
    met_in_the_middle = set()
    for _ in range(KILLS):
        kill_a_guard_after(database, moves_more=chance.randrange(4, 14), pause_s=chance.uniform(0, 0.02))
        met_in_the_middle.add(on(second))
        assert_nothing_is_half_moved(chips, second)
    assert len(met_in_the_middle) > KILLS / 2, "the kills came too late or too early"
    assert 0 < on(second) < CHIPS
    guard(Tools(vault, TZ, failover_grace_s=1), clock.now())
    assert on(second) == CHIPS
    assert_nothing_is_half_moved(chips, second)
    assert len(rows()) == 2 * CHIPS


def kill_a_guard_after(database: str, *, moves_more: int, pause_s: float) -> None:
    """SIGKILL, once it has moved that many chips and a little later."""
    before = moved_so_far()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.guard_process", database],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + PATIENCE_S
        while moved_so_far() < before + moves_more:
            assert time.monotonic() < deadline
        time.sleep(pause_s)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def moved_so_far() -> int:
    with db.transaction() as tx:
        sql = "SELECT count(*) FROM chip_proxy_assignments WHERE assign_reason = 'failover_provider'"
        return tx.scalar(text(sql)) or 0


def assert_nothing_is_half_moved(chips: list[UUID], second: Provider) -> None:
    """Each chip is wholly where it was or wholly where it is, with its identifier, its history and its events."""
    history: dict[UUID, list[Assignment]] = {chip: [] for chip in chips}
    for row in rows():
        history[row.chip_id].append(row)
    with db.transaction() as tx:
        generations = dict(tx.execute(select(Chip.id, Chip.sticky_generation)).all())
        events = list(tx.execute(select(ChipEvent.chip_id, ChipEvent.kind)))
    for chip, its in history.items():
        current = [row for row in its if row.released_at is None]
        assert len(current) == 1
        moved = current[0].provider_id == second.id
        assert len(its) == (2 if moved else 1)
        assert generations[chip] == (1 if moved else 0)
        assert current[0].session_identifier == (f"chip-{chip}-1" if moved else f"chip-{chip}")
        assert events.count((chip, "proxy_released")) == (1 if moved else 0)
        assert events.count((chip, "proxy_assigned")) == (2 if moved else 1)
    assert len({row.session_token for row in active()}) == len(chips)
