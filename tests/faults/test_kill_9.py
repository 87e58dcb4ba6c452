"""``kill -9`` at thirty random moments under load: what was billed, beside what the two ends of the wire counted."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from decimal import Decimal

import pytest

from tests.factories import make_plan, make_user
from tests.faults.far_end import BULK_HOST, SMALL_HOST, FarEnd, Pull, Push, Reconnects
from tests.faults.figures import State
from tests.faults.stage import Gateway, Stage
from tests.spine.conftest import month_of, wait_until
from whago.domain.models import Plan, User
from whago.gateway.config import TURN_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PULLS, PUSHES = 2, 2
LONGEST_S = 0.4
MESSAGE_BYTES = 400  # a CONNECT is charged just before it is sent


@dataclass
class Round:
    """One gateway's life. Bulk tunnels and reconnecting ones are two customers, because they are measured apart."""

    bulk: User
    small: User
    bulk_wire: int
    small_least: int
    small_most: int


def test_thirty_kills_under_load(stage: Stage, state: State, request: pytest.FixtureRequest) -> None:
    """``--kills`` for another number."""
    kills = request.config.getoption("--kills")
    plan = make_plan(proxy_gb_limit=Decimal(1000))
    moments = random.Random(20251115)
    rounds = [one_round(stage, stage.gateway(), plan, moments.uniform(0.0, LONGEST_S)) for _ in range(kills)]
    last = stage.gateway()
    wait_until(lambda: len(stage.counter_files) == 1, 30)
    bulk = [month_of(one.bulk.id) for one in rounds]
    small = [month_of(one.small.id) for one in rounds]
    for number, (one, month) in enumerate(zip(rounds, bulk, strict=True), 1):
        figure = state(f"kill -9, moment {number:2} of {kills}", wire=one.bulk_wire, billed=month.total_bytes)
        assert figure.lost == 0
        assert figure.over <= (PULLS + PUSHES) * TURN_BYTES
    for one, month in zip(rounds, small, strict=True):
        assert one.small_least <= month.total_bytes <= one.small_most + MESSAGE_BYTES
    least, most = sum(one.small_least for one in rounds), sum(one.small_most for one in rounds)
    billed = sum(month.total_bytes for month in small)
    known_to = f"kill -9, reconnecting tunnels (wire known to {most - least:,})"
    state(known_to, wire=min(max(billed, least), most), billed=billed)
    assert [month.leased_bytes for month in bulk + small] == [0] * kills * 2
    last.stop()
    assert stage.counter_files == []


def test_a_sibling_settles_a_killed_gateway_while_it_serves(stage: Stage, state: State) -> None:
    """Nobody starts anything: the process beside the dead one finds its counters."""
    user = make_user(make_plan(proxy_gb_limit=Decimal(1)))
    killed, sibling = stage.gateway(), stage.gateway()
    (chip,) = stage.chips(user, 1)
    pull = Pull(killed.port, *chip)
    pull.start()
    assert pull.moving.wait(20)
    killed.kill()
    pull.join(20)
    (wire,) = stage.far_end.towards(BULK_HOST)
    wait_until(lambda: len(stage.counter_files) == 1, 30)
    moved = wire.exchange + wire.uploaded + pull.got
    figure = state("kill -9, settled by a sibling", wire=moved, billed=month_of(user.id).total_bytes)
    assert figure.lost == 0
    assert figure.over <= TURN_BYTES
    assert month_of(user.id).leased_bytes == 0
    sibling.stop()


def one_round(stage: Stage, gateway: Gateway, plan: Plan, moment_s: float) -> Round:
    """Load, a kill at a random moment, and what the two ends have counted by then."""
    bulk, small = make_user(plan), make_user(plan)
    chips = stage.chips(bulk, PULLS + PUSHES)
    stage.far_end.forget()
    pulls = [Pull(gateway.port, *chip) for chip in chips[:PULLS]]
    pushes = [Push(gateway.port, *chip) for chip in chips[PULLS:]]
    reconnecting = [Reconnects(gateway.port, *chip) for chip in stage.chips(small, 2)]
    everybody = [*pulls, *pushes, *reconnecting]
    for chip in everybody:
        chip.start()
    for chip in everybody:
        assert chip.moving.wait(20)
    time.sleep(moment_s)
    gateway.kill()
    for one in reconnecting:
        one.stop()
    for chip in [*pulls, *pushes]:
        chip.join(20)
        assert not chip.is_alive()
    stage.far_end.flush()
    return counted(stage.far_end, bulk, small, pulls, reconnecting)


def counted(far_end: FarEnd, bulk: User, small: User, pulls: list[Pull], reconnecting: list[Reconnects]) -> Round:
    """What arrived at the provider, and at the chips. Of a reconnecting chip's last round only the bounds are known."""
    wires = far_end.towards(BULK_HOST)
    bulk_wire = sum(wire.exchange + wire.uploaded for wire in wires) + sum(pull.got for pull in pulls)
    wires = far_end.towards(SMALL_HOST)
    finished = sum(one.rounds for one in reconnecting)
    exchanges = sorted(wire.exchange for wire in wires if wire.exchange)[:finished]
    least = sum(exchanges) + sum(one.tunnel_bytes for one in reconnecting)
    return Round(bulk, small, bulk_wire, least, sum(wire.received + wire.sent for wire in wires))
