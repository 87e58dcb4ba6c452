"""``kill -9`` between a bridge and its backend: no event is lost or taken twice, and no pairing is ever lost."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from tests.bridge.conftest import (
    PATIENCE_S,
    SECRET,
    BridgeProcess,
    Edge,
    Gateway,
    a_chip,
    edge,
    eventually,
    gateway,
    start_bridge,
)
from tests.conftest import SECRET as SECRET_KEY
from tests.factories import make_ready_pool
from whago.bridge.client import BridgeClient
from whago.bridge.wire import BridgeChip
from whago.domain.models import Chip, ChipHold
from whago.domain.queries.history import chip_events
from whago.errors import WhagoError
from whago.kit.db import transaction
from whago.main.embedded import free_port

__all__ = ["edge", "gateway"]  # fixtures of the bridge's own tests

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

START_S = 180.0  # a start takes 2 s; on a busy machine its imports take their time
ROUNDS = 6  # each kills at another moment of a pairing
phones = itertools.count(5_511_900_000_100)


@dataclass
class WebProcess:
    """``whago web`` as an operator starts it; it comes back at the same address."""

    database_url: str
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "whago", "web", "--port", str(self.port)],
            env={
                **os.environ,
                "WHAGO_DATABASE_URL": self.database_url,
                "WHAGO_SECRET_KEY": SECRET_KEY,
                "WHAGO_BRIDGE_SECRET": SECRET,
                "WHAGO_DATA_DIR": str(self.folder),
            },
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "web.log").open("ab"),
        )
        eventually(self._answers, bool, "the web process", START_S)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", trust_env=False).is_success
        except httpx.TransportError:
            return False


@pytest.fixture(autouse=True)
def agreeable(gateway: Gateway) -> None:
    """The gateway is shared by all tests of this file: none meets the refusal of the one before."""
    gateway.refusal = None


@pytest.fixture
def web(database: str, tmp_path: Path) -> Iterator[WebProcess]:
    make_ready_pool()
    web = WebProcess(database, tmp_path)
    web.start()
    yield web
    web.kill()


@pytest.fixture
def bridges() -> Iterator[list[BridgeProcess]]:
    """Those that a test starts; they are ended for it."""
    started: list[BridgeProcess] = []
    yield started
    for bridge in started:
        if bridge.process.poll() is None:
            bridge.kill()


def becomes(client: BridgeClient, chip_id: UUID, state: str) -> BridgeChip:
    chip = eventually(lambda: client.get(chip_id), lambda chip: chip is not None and chip.state == state, state)
    assert chip is not None
    return chip


def is_held_up(chip: BridgeChip | None) -> bool:
    reason = chip.last_error.reason if chip is not None and chip.last_error is not None else None
    return chip is not None and (
        chip.state == "proxy_blocked" or (chip.state == "backoff" and reason == "backend_unreachable")
    )


def history_of(chip_id: UUID) -> list[str]:
    """What the owner reads, oldest first."""
    with transaction() as db:
        owner_id = db.get_one(Chip, chip_id).user_id
    kinds = [event.kind for event in chip_events(owner_id, chip_id, limit=100).items]
    return [kind for kind in reversed(kinds) if kind.startswith("status_")]


def test_events_survive_the_death_of_the_backend_in_order_and_once(
    web: WebProcess, edge: Edge, gateway: Gateway, bridges: list[BridgeProcess]
) -> None:
    bridge = start_bridge(edge, gateway.address, web.url)
    bridges.append(bridge)
    chip_id = a_chip()
    with BridgeClient(bridge.url, SECRET) as client:
        client.create(chip_id, gateway.proxy_url())
        becomes(client, chip_id, "qr")
        eventually(lambda: history_of(chip_id), lambda kinds: len(kinds) == 2, "the first two events")
        web.kill()
        gateway.refusal = (402, "quota_exhausted")
        edge.tell("drop")
        # Blocked; or, on a slow machine, closed meanwhile because the backend was away for too long.
        eventually(lambda: client.get(chip_id), is_held_up, "the chip to hear the refusal")
        time.sleep(1)  # the outbox has tried in vain by now
        web.start()
        kinds = eventually(lambda: history_of(chip_id), lambda kinds: "status_blocked_quota" in kinds, "the block")
    assert kinds[:3] == ["status_connecting", "status_waiting_qr", "status_connecting"]
    assert kinds.count("status_blocked_quota") == 1


def test_no_kill_of_the_bridge_at_any_moment_of_a_pairing_loses_it(
    web: WebProcess, edge: Edge, gateway: Gateway, bridges: list[BridgeProcess]
) -> None:
    """Whatever WhatsApp's edge took for a pairing is one that the next bridge can log in with."""
    port = str(free_port())
    chance = random.Random(7)
    lost_early = kept = 0
    for _ in range(ROUNDS):
        bridge = start_bridge(edge, gateway.address, web.url, BRIDGE_PORT=port)
        bridges.append(bridge)
        chip_id, phone = a_chip(), str(next(phones))
        with BridgeClient(bridge.url, SECRET) as client:
            client.create(chip_id, gateway.proxy_url())
            becomes(client, chip_id, "qr")
            pairing = client.qr(chip_id)
            assert pairing is not None
            confirmed = edge.state()["heard"].count("iq:-:pair-device-sign")
            edge.tell("scan", qr=pairing.qr, phone=phone)
            time.sleep(chance.uniform(0, 0.12))  # a pairing takes about a tenth of a second
            bridge.kill()
        was_confirmed = edge.state()["heard"].count("iq:-:pair-device-sign") > confirmed
        successor = start_bridge(edge, gateway.address, web.url, BRIDGE_PORT=port)
        bridges.append(successor)
        with BridgeClient(successor.url, SECRET) as client:
            client.create(chip_id, gateway.proxy_url())
            chip = eventually(
                lambda client=client, chip_id=chip_id: client.get(chip_id),  # type: ignore[misc]
                lambda chip: chip is not None and chip.state in ("qr", "open"),
                "the chip to come back",
            )
            assert chip is not None
            if was_confirmed:
                assert chip.state == "open", "WhatsApp believes in a pairing that we have lost"
                kept += 1
            else:
                lost_early += 1
        successor.stop()
    assert kept + lost_early == ROUNDS


def test_a_stalled_bridge_writes_nothing_after_another_took_the_chip(
    web: WebProcess, edge: Edge, gateway: Gateway, bridges: list[BridgeProcess]
) -> None:
    """SIGSTOP is the worst partition: it neither hears nor knows how much time has passed."""
    stalled, heir = (start_bridge(edge, gateway.address, web.url) for _ in range(2))
    bridges += [stalled, heir]
    chip_id = a_chip()
    with BridgeClient(stalled.url, SECRET) as client, BridgeClient(heir.url, SECRET) as other:
        client.create(chip_id, gateway.proxy_url())
        becomes(client, chip_id, "qr")
        pairing = client.qr(chip_id)
        assert pairing is not None
        edge.tell("scan", qr=pairing.qr, phone=str(next(phones)))
        becomes(client, chip_id, "open")
        stalled.process.send_signal(signal.SIGSTOP)

        def takes_over() -> bool:
            try:
                other.create(chip_id, gateway.proxy_url())
            except WhagoError as error:
                assert error.details == {"reason": "runs_elsewhere"}  # noqa: PT017
                return False
            return True

        eventually(takes_over, bool, "the chip to be free")
        becomes(other, chip_id, "open")
        stalled.process.send_signal(signal.SIGCONT)
        chip = eventually(lambda: client.get(chip_id), lambda chip: chip is not None and not chip.runs, "its end")
        assert chip is not None
        assert chip.last_error is not None
        assert chip.last_error.reason == "runs_elsewhere"
        assert becomes(other, chip_id, "open").last_error is None
    with transaction() as db:
        hold = db.get_one(ChipHold, chip_id)
    assert hold.epoch >= 2
