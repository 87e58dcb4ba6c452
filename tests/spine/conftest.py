"""The whole way of the bytes: client → real gateway process → counting relay → simulated provider → origin."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.conftest import SECRET
from tests.factories import TZ, make_provider, make_proxy
from tests.spine.wire import CountingRelay
from whago.domain.actions.chips import CreatedChip, create_chip
from whago.domain.models import Engine, Notification, UsageLog, User, UserProxyCost
from whago.domain.rules.months import billing_month
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.main.embedded import free_port
from whago.simulator import SimulatedProvider

START_S = 120.0  # a start takes 2 s; on a busy machine its imports take their time
GONE_HOST = "gone.whatsapp.net"  # nobody listens there
SETTLE_S = 60.0  # patience of a busy machine; what is promised is measured apart


@dataclass
class GatewayProcess:
    """``whago gateway`` as an operator starts it."""

    database_url: str
    data_dir: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "whago", "gateway", "--port", str(self.port)],
            env={
                **os.environ,
                "WHAGO_DATABASE_URL": self.database_url,
                "WHAGO_SECRET_KEY": SECRET,
                "WHAGO_DATA_DIR": str(self.data_dir),
                "WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1",
            },
            stderr=(self.data_dir / f"gateway-{self.port}.log").open("ab"),
        )
        wait_until(self._listens, START_S)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(60) == 0

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the gateway did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class Stack:
    """One provider behind a relay that counts, one pool, and as many gateways as a test starts."""

    database_url: str
    data_dir: Path
    provider: SimulatedProvider
    relay: CountingRelay
    gateways: list[GatewayProcess] = field(default_factory=list)

    def gateway(self) -> GatewayProcess:
        started = GatewayProcess(self.database_url, self.data_dir)
        self.gateways.append(started)
        started.start()
        return started

    def chip(self, user: User) -> CreatedChip:
        number = len(self.provider.sessions()) + time.monotonic_ns()
        return create_chip(user.id, alias=f"chip {number}", engine=Engine.EXTERNAL, region=None, now=clock.now(), tz=TZ)

    def stop(self) -> None:
        for one in self.gateways:
            one.stop()


@pytest.fixture
def stack(database: str, vault: Vault, tmp_path: Path) -> Iterator[Stack]:
    with SimulatedProvider(targets=[f"{GONE_HOST}=127.0.0.1:9"]) as provider:
        relay = CountingRelay(provider.port)
        row = make_provider(vault, port=relay.port, cost_per_gb=Decimal("25.37"))
        make_proxy(row)
        built = Stack(database, tmp_path, provider, relay)
        try:
            yield built
            built.stop()
        finally:
            for one in built.gateways:
                if one.process is not None and one.process.poll() is None:
                    one.kill()
            relay.close()


def wait_until(condition: Callable[[], bool], seconds: float = SETTLE_S) -> None:
    """Fails when the condition does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def wait_equal(left: Callable[[], int], right: Callable[[], int], seconds: float = SETTLE_S) -> None:
    """Fails, with both figures, when they do not become equal."""
    deadline = time.monotonic() + seconds
    while left() != right() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left() == right()


def month_of(user_id: UUID) -> UserProxyCost:
    """The customer's month, zero when nothing was reported yet."""
    month = billing_month(clock.now(), TZ)
    with transaction() as db:
        row = db.scalar(
            select(UserProxyCost).where(UserProxyCost.user_id == user_id, UserProxyCost.month_year == month)
        )
    return row or UserProxyCost(user_id=user_id, total_bytes=0, total_cost=Decimal(0), leased_bytes=0)


def ledger_of(user_id: UUID) -> list[UsageLog]:
    with transaction() as db:
        return list(db.scalars(select(UsageLog).where(UsageLog.user_id == user_id)))


def told(user_id: UUID) -> list[Any]:
    with transaction() as db:
        return sorted(db.scalars(select(Notification.kind).where(Notification.user_id == user_id)))
