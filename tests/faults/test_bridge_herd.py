"""A herd of chips comes back at once: after their bridges died, and after their gateway was restarted.

``--herd 500`` makes it five hundred.

Whoever is on the other side of that must not be hammered: WhatsApp's edge, the gateway, the database.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from tests.bridge.conftest import SECRET, Backend, BridgeProcess, Edge, edge, start_bridge
from tests.factories import TZ, make_plan, make_provider, make_proxy, make_user
from tests.spine.conftest import GatewayProcess
from whago.bridge.fleet import BridgeFleet
from whago.domain.actions.chips import create_chip, set_chip_status
from whago.domain.models import ChipStatus, Engine
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.main.node import BRIDGE_DIR, node_binary
from whago.simulator import SimulatedProvider
from whago.tasks.bridge import CHIPS_PER_RUN, EVERY_S, resume_chips
from whago.tasks.clock import Tools

__all__ = ["edge"]  # a fixture of the bridge's own tests

BRIDGES = 2
PER_BRIDGE = 300
DIALS_A_SECOND = 20  # of one bridge: connect-pacer.ts
PATIENCE_S = 600.0  # for 500 chips, on a machine that does something else too
REQUESTS_A_RETURN = 20  # a claim, the keys of a login and its events, once more when a first attempt was in vain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Herd:
    """Edge, provider, gateway, backend and bridges, all real but the first two."""

    def __init__(self, database: str, vault: Vault, edge: Edge, folder: Path, size: int) -> None:
        self.size = size
        self.edge = edge
        self.provider = SimulatedProvider(targets=[f"*.whatsapp.com:443=127.0.0.1:{edge.port}"])
        self.provider.__enter__()
        make_proxy(make_provider(vault, port=self.provider.port))
        self.gateway = GatewayProcess(database, folder)
        self.gateway.start()
        address = f"127.0.0.1:{self.gateway.port}"
        self.backend = Backend(gateway_address=address)
        self.backend.start()
        self.fleet = BridgeFleet(SECRET)
        self.tools = Tools(vault, TZ, bridge=self.fleet, gateway_address=address)
        self.bridges: list[BridgeProcess] = []

    def close(self) -> None:
        for bridge in self.bridges:
            if bridge.process.poll() is None:
                bridge.stop()
        self.fleet.close()
        self.backend.close()
        self.gateway.stop()
        self.provider.__exit__(None, None, None)

    def start_bridges(self) -> None:
        address = f"127.0.0.1:{self.gateway.port}"
        for _ in range(BRIDGES):
            bridge = start_bridge(self.edge, address, self.backend.url, BRIDGE_MAX_CHIPS=str(PER_BRIDGE))
            self.bridges.append(bridge)

    def kill_bridges(self) -> None:
        for bridge in self.bridges:
            bridge.kill()
        self.bridges.clear()

    def make_chips(self) -> list[UUID]:
        """Paired long ago, and meant to run."""
        user, now = make_user(make_plan(max_chips=self.size)), clock.now()
        chips = [
            create_chip(user.id, alias=f"chip {n}", engine=Engine.BRIDGE, region=None, now=now, tz=TZ).chip_id
            for n in range(self.size)
        ]
        for chip_id in chips:
            set_chip_status(chip_id, ChipStatus.CONNECTED, now=now)
        script = BRIDGE_DIR / "test/stand-in/pair-all.ts"
        told = subprocess.run(
            [node_binary(), script, self.backend.url],
            input="".join(f"{chip_id}\n" for chip_id in chips),
            env={"BRIDGE_SECRET": SECRET},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert told == f"{self.size}\n"
        self.edge.tell("pre-keys", count=812)
        return chips

    def open(self) -> int:
        return sum(chip.state == "open" for chip in self.fleet.roll().chips.values())

    def until_all_are_open(self) -> float:
        """Ticks as the worker does; answers the seconds that it took."""
        began = time.monotonic()
        while (count := self.open()) < self.size:
            assert time.monotonic() - began < PATIENCE_S, f"{count} of {self.size} are open"
            next_tick = time.monotonic() + EVERY_S
            assert resume_chips(self.tools, clock.now())["resumed"] <= CHIPS_PER_RUN
            time.sleep(max(next_tick - time.monotonic(), 0))
        return time.monotonic() - began

    def requests(self) -> int:
        """How often the backend was asked, events included."""
        samples = self.backend.app.state.figures.requests.collect()[0].samples
        return int(sum(s.value for s in samples if s.name.endswith("_total") and "/internal/" in s.labels["route"]))


@pytest.fixture
def herd(database: str, vault: Vault, edge: Edge, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Herd]:
    herd = Herd(database, vault, edge, tmp_path, request.config.getoption("--herd"))
    try:
        yield herd
    finally:
        herd.close()


def busiest_second(arrivals: list[float]) -> int:
    """The most arrivals within any second."""
    most, first = 0, 0
    for last, moment in enumerate(arrivals):
        while moment - arrivals[first] >= 1_000:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_a_herd_comes_back_in_an_orderly_queue(herd: Herd, capsys: pytest.CaptureFixture[str]) -> None:
    herd.make_chips()
    for name, disturb in (("bridges", _replace_bridges), ("gateway", _restart_gateway)):
        seen, asked = len(herd.edge.state()["arrivals"]), herd.requests()
        disturb(herd)
        took_s = herd.until_all_are_open()
        state = herd.edge.state()
        arrivals, requests = state["arrivals"][seen:], herd.requests() - asked
        with capsys.disabled():
            sys.stdout.write(
                f"\n{herd.size} chips after a restart of the {name}: open in {took_s:.0f} s,"
                f" {len(arrivals)} connections, {busiest_second(arrivals)} in the busiest second,"
                f" {requests / herd.size:.1f} requests a chip\n"
            )
        assert busiest_second(arrivals) <= BRIDGES * (DIALS_A_SECOND + 1)
        assert len(arrivals) <= 2 * herd.size  # nobody dials in a loop
        assert requests <= REQUESTS_A_RETURN * herd.size + 2 * BRIDGES * took_s  # and the signs of life
    logins = Counter(herd.edge.state()["logins"])
    assert len(logins) == herd.size
    assert max(logins.values()) <= 4


def _replace_bridges(herd: Herd) -> None:
    herd.kill_bridges()
    herd.start_bridges()


def _restart_gateway(herd: Herd) -> None:
    herd.gateway.stop()
    herd.gateway.start()
