"""Chips of our bridge come back after it was restarted, and after their customer has quota again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from tests.actions.test_record_usage import a_boot, a_usage
from tests.bridge.conftest import SECRET, Backend, BridgeProcess, Edge, Gateway, eventually, start_bridge
from tests.factories import make_chip, make_plan, make_ready_pool, make_user
from whago.bridge.client import BridgeClient
from whago.domain.actions.chips import set_chip_status
from whago.domain.actions.record_usage import record_usage
from whago.domain.models import ChipStatus, Engine, User
from whago.kit.crypto import Vault
from whago.tasks.bridge import resume_chips
from whago.tasks.clock import Tools


@pytest.fixture
def running(edge: Edge, gateway: Gateway, backend: Backend, tmp_path: Path) -> Iterator[list[BridgeProcess]]:
    """Bridges that a test starts one after the other on the same folder."""
    started: list[BridgeProcess] = []
    yield started
    gateway.refusal = None
    for one in started:
        if one.process.poll() is None:
            one.stop()


def a_bridged_chip(user: User, now: datetime) -> UUID:
    chip_id = make_chip(user, engine=Engine.BRIDGE, now=now).chip_id
    set_chip_status(chip_id, ChipStatus.CONNECTING, now=now)
    return chip_id


def test_chips_come_back_after_the_bridge_was_killed(
    database: str,
    vault: Vault,
    tz: ZoneInfo,
    noon: datetime,
    edge: Edge,
    gateway: Gateway,
    backend: Backend,
    running: list[BridgeProcess],
    tmp_path: Path,
) -> None:
    make_ready_pool()
    chips = {a_bridged_chip(make_user("enterprise"), noon) for _ in range(3)}
    stopped = a_bridged_chip(make_user("enterprise"), noon)
    set_chip_status(stopped, ChipStatus.DISCONNECTED, now=noon, reason="stopped_by_user")
    for _ in range(2):
        bridge = start_bridge(edge, gateway.address, backend.url, tmp_path)
        running.append(bridge)
        with BridgeClient(bridge.url, SECRET) as client:
            tools = Tools(vault, tz, bridge=client, gateway_address=gateway.address)
            assert resume_chips(tools, noon) == {"due": 3, "resumed": 3}
            assert {chip.chip_id for chip in client.list().items} == chips
            assert resume_chips(tools, noon) == {"due": 0, "resumed": 0}
        bridge.process.kill()
        bridge.process.wait()


def test_a_chip_without_quota_stays_blocked_and_is_resumed_when_there_is_some(
    database: str,
    vault: Vault,
    tz: ZoneInfo,
    noon: datetime,
    edge: Edge,
    gateway: Gateway,
    backend: Backend,
    running: list[BridgeProcess],
    tmp_path: Path,
) -> None:
    make_ready_pool()
    poor, rich = make_user(make_plan(proxy_gb_limit=Decimal("0.000001"))), make_user("enterprise")
    chip_of_poor, chip_of_rich = a_bridged_chip(poor, noon), a_bridged_chip(rich, noon)
    bridge = start_bridge(edge, gateway.address, backend.url, tmp_path)
    running.append(bridge)
    gateway.refusal = (402, "quota_exhausted")
    with BridgeClient(bridge.url, SECRET) as client:
        tools = Tools(vault, tz, bridge=client, gateway_address=gateway.address)
        resume_chips(tools, noon)
        states = lambda: {chip.chip_id: chip.state for chip in client.list().items}  # noqa: E731
        eventually(states, lambda seen: set(seen.values()) == {"proxy_blocked"}, "both to be blocked")
        record_usage(a_boot(), [a_usage(poor)], now=noon, tz=tz)
        gateway.refusal = None
        assert resume_chips(tools, noon) == {"due": 1, "resumed": 1}
        eventually(states, lambda seen: seen[chip_of_rich] == "qr", "the one with quota to go on")
        assert states()[chip_of_poor] == "proxy_blocked"
