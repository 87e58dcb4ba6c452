"""Two to four gateways race for the last megabyte of one customer: nothing goes past it, and it is all used."""

from __future__ import annotations

from decimal import Decimal

import pytest

from tests.factories import make_plan, make_user
from tests.faults.far_end import ANSWER, BULK_HOST, SMALL_HOST, Pull, Push, Reconnects
from tests.faults.figures import State
from tests.faults.stage import Stage
from tests.gateway.wire import http_connect, read_head
from tests.spine.conftest import month_of as month_now
from tests.spine.conftest import told, wait_until
from whago.domain.rules.lease import MIN_LEASE_BYTES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LAST_BYTES = 1_000_000
RACES = 2
TUNNELS = 4  # of each kind; a pull and a push of the same number belong to one chip


@pytest.mark.parametrize("gateways", [2, 3, 4])
def test_gateways_racing_for_the_last_megabyte(stage: Stage, state: State, gateways: int) -> None:
    plan = make_plan(proxy_gb_limit=Decimal(LAST_BYTES) / 10**9)
    ports = [stage.gateway().port for _ in range(gateways)]
    for race in range(1, RACES + 1):
        user = make_user(plan)
        stage.far_end.forget()
        chips = stage.chips(user, TUNNELS)
        racers = [
            kind(ports[number % gateways], *chips[number % TUNNELS])
            for number, kind in enumerate([Pull] * TUNNELS + [Push] * TUNNELS)
        ]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
            assert not racer.is_alive(), "at the limit every tunnel is cut"
        wait_until(lambda who=user.id: month_now(who).leased_bytes == 0)
        wires = stage.far_end.towards(BULK_HOST)
        wire = sum(one.exchange + one.uploaded for one in wires) + sum(racer.got for racer in racers)
        fault = f"last megabyte, {gateways} gateways, race {race}"
        figure = state(fault, wire=wire, billed=month_now(user.id).total_bytes, limit=LAST_BYTES)
        assert (figure.lost, figure.over, figure.past_limit) == (0, 0, 0)
        assert figure.billed > LAST_BYTES - MIN_LEASE_BYTES, "nearly all of what was paid for can be used"
        for port in ports:
            with http_connect(port, str(chips[0][0]), chips[0][1], f"{BULK_HOST}:443") as late:
                assert read_head(late).startswith("HTTP/1.1 402 ")
    assert told(user.id) == ["quota_exhausted", "quota_warning"]


def test_reconnecting_chips_race_for_the_last_megabyte(stage: Stage, state: State) -> None:
    """Handshakes are billed as well, and there are many of them: they stop at the limit, too."""
    user = make_user(make_plan(proxy_gb_limit=Decimal(LAST_BYTES) / 10**9))
    ports = [stage.gateway().port for _ in range(4)]
    racers = [Reconnects(ports[number % 4], *chip, size=3_000) for number, chip in enumerate(stage.chips(user, 8))]
    for racer in racers:
        racer.start()
    wait_until(lambda: all(racer.refused > 3 for racer in racers), 60)
    for racer in racers:
        racer.stop()
    wait_until(lambda: month_now(user.id).leased_bytes == 0)
    wires = stage.far_end.towards(SMALL_HOST)
    sent = sum(one.exchange - len(ANSWER) + one.uploaded for one in wires if one.exchange)
    wire = sent + sum(racer.opened * len(ANSWER) + racer.got for racer in racers)
    billed = month_now(user.id).total_bytes
    figure = state("last megabyte, 4 gateways, reconnecting", wire=wire, billed=billed, limit=LAST_BYTES)
    assert (figure.lost, figure.past_limit) == (0, 0)
    assert figure.over <= len(racers) * len(ANSWER), "parts of answers that reached no chip"
