"""A herd of chips comes back at once: after their bridges died, and after their gateway was restarted.

``--herd 500`` makes it five hundred.

Whoever is on the other side of that must not be hammered: WhatsApp's edge, the gateway, the database.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from tests.bridge.conftest import SECRET, Backend, BridgeProcess, Edge, edge, start_bridge
from tests.factories import TZ, make_plan, make_provider, make_proxy, make_user
from tests.spine.conftest import GatewayProcess
from whago.bridge.fleet import BridgeFleet
from whago.domain.actions.chips import create_chip, set_chip_status
from whago.domain.models import ChipStatus, Engine
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.main.node import BRIDGE_DIR, node_binary
from whago.simulator import SimulatedProvider
from whago.tasks.bridge import CHIPS_PER_RUN, EVERY_S, resume_chips
from whago.tasks.clock import Tools

__all__ = ["edge"]  # a fixture of the bridge's own tests

BRIDGES = 2
PER_BRIDGE = 300
DIALS_A_SECOND = 20  # of one bridge: connect-pacer.ts
PATIENCE_S = 600.0  # for 500 chips, on a machine that does something else too
AT_ONCE = 10  # connections on their way in one bridge, same place
DIALS_A_RETURN = 6  # with a back-off that doubles: a way that is shut for half a minute is tried so often
REQUESTS_A_RETURN = 40  # a claim, the keys of a login and its events: ten, and again for each attempt in vain
TRANSACTIONS_A_RETURN = 60  # those requests, the gateway's look-up, lease and reports, the clock's new credential
TRANSACTIONS_A_SECOND = 60  # whoever waits: reports of the gateway, signs of life, the test's own looks
TRANSACTIONS = text("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
SAMPLE_S = 0.5
LOOK_EVERY_S = 0.25

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Sample:
    """``dials`` of all bridges and ``transactions`` of the database so far, read between two moments."""

    asked_at: float
    dials: int
    transactions: int
    told_at: float


class Watch:
    """Looks twice a second at what the herd does to gateway and database."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self.samples = [self._look()]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.samples.append(self._look())

    @property
    def dials(self) -> int:
        return self.samples[-1].dials - self.samples[0].dials

    @property
    def transactions(self) -> int:
        return self.samples[-1].transactions - self.samples[0].transactions

    def busiest(self, what: str) -> float:
        """The highest rate between two looks, per second."""
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return max((getattr(b, what) - getattr(a, what)) / max(b.told_at - a.told_at, SAMPLE_S) for a, b in pairs)

    def hurried(self) -> list[tuple[Sample, Sample]]:
        """Looks between which more was dialled than the time from the first to the last of both allows."""
        pairs = zip(self.samples, self.samples[1:], strict=False)
        return [
            (a, b) for a, b in pairs if b.dials - a.dials > BRIDGES * (DIALS_A_SECOND * (b.told_at - a.asked_at) + 1)
        ]

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.samples.append(self._look())

    def _look(self) -> Sample:
        began = time.monotonic()
        dials = sum(_dials_of(url) for url in self._urls)
        with transaction() as tx:
            done = tx.scalar(TRANSACTIONS)
        return Sample(began, dials, int(done or 0), time.monotonic())


def _dials_of(url: str) -> int:
    told = httpx.get(f"{url}/metrics", trust_env=False, timeout=PATIENCE_S).text
    lines = [line for line in told.splitlines() if line.startswith("whago_bridge_dials_total ")]
    return int(lines[0].split()[1]) if lines else 0


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
            stdout=subprocess.PIPE,
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
        began = next_tick = time.monotonic()
        while (count := self.open()) < self.size:
            now = time.monotonic()
            assert now - began < PATIENCE_S, f"{count} of {self.size} are open"
            if now >= next_tick:
                next_tick = now + EVERY_S
                assert resume_chips(self.tools, clock.now())["resumed"] <= CHIPS_PER_RUN
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - began

    def lapses(self) -> int:
        """How often a living bridge gave up its chips because the backend did not answer for 12 s."""
        return sum("heartbeat.lapsed" in line for bridge in self.bridges for line in bridge.lines)

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
        began = time.monotonic()
        disturb(herd)
        with Watch([bridge.url for bridge in herd.bridges]) as watch:
            herd.until_all_are_open()
        took_s = time.monotonic() - began
        state = herd.edge.state()
        arrivals, requests = state["arrivals"][seen:], herd.requests() - asked
        with capsys.disabled():
            sys.stdout.write(
                f"\n{herd.size} chips after a restart of the {name}: open in {took_s:.0f} s."
                f" At the gateway {watch.dials} connections, at most {watch.busiest('dials'):.0f} a second;"
                f" at WhatsApp's edge {len(arrivals)}, {busiest_second(arrivals)} in the busiest second."
                f" {requests / herd.size:.1f} requests to the backend a chip; in the database"
                f" {watch.transactions / herd.size:.1f} transactions a chip, at most"
                f" {watch.busiest('transactions'):.0f} a second. {herd.lapses()} bridges lapsed\n"
            )
        assert watch.hurried() == []
        assert watch.dials <= DIALS_A_RETURN * herd.size  # nobody dials in a loop
        assert busiest_second(arrivals) <= BRIDGES * (
            DIALS_A_SECOND + 1 + AT_ONCE
        )  # those that a stall held up as well
        assert len(arrivals) <= 2 * herd.size
        assert requests <= REQUESTS_A_RETURN * herd.size + 2 * BRIDGES * took_s  # and the signs of life
        assert watch.transactions <= TRANSACTIONS_A_RETURN * herd.size + TRANSACTIONS_A_SECOND * took_s
    logins = Counter(herd.edge.state()["logins"])
    assert len(logins) == herd.size
    assert max(logins.values()) <= 4


def _replace_bridges(herd: Herd) -> None:
    herd.kill_bridges()
    herd.start_bridges()


def _restart_gateway(herd: Herd) -> None:
    """Without a drain: every chip loses its tunnel at the same moment."""
    herd.gateway.kill()
    herd.gateway.start()
