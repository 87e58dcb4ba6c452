"""What breaks under the gateway, and what it costs: bytes lost, bytes over."""

from __future__ import annotations

import random
import shutil
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conftest import SECRET
from tests.factories import make_plan, make_provider, make_proxy, make_user
from tests.spine.conftest import Stack, month_of, wait_until
from tests.spine.test_metering import HOST
from tests.spine.wire import CountingRelay, Refused, connect
from whago.kit import db
from whago.kit.crypto import Vault
from whago.main.embedded import EmbeddedPostgres, free_port, private_data_dir
from whago.main.migrate import upgrade
from whago.simulator import SimulatedProvider

pytestmark = pytest.mark.slow

OUTAGE_S = 20.0
AT_MOST_IN_OUTAGE_BYTES = 40_000_000  # four clients at 20 kB each 50 ms, for twenty seconds, and some
CHUNK_BYTES = 1 << 20  # one turn of one tunnel and direction: what may be charged and not sent at a kill


class Load:
    """Clients that keep pulling until they are told to stop, and reconnect when they are cut."""

    def __init__(self, stack: Stack, ports: list[int], chips: list[tuple[object, str]], pause_s: float = 0.01) -> None:
        self._stack = stack
        self._stopping = threading.Event()
        self.answers = 0
        self.cuts = 0
        self._threads = [
            threading.Thread(target=self._pull, args=(ports[number % len(ports)], *chip, pause_s))
            for number, chip in enumerate(chips)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _pull(self, port: int, chip_id: object, token: str, pause_s: float) -> None:
        while not self._stopping.is_set():
            try:
                with connect(port, chip_id, token, HOST) as tunnel:
                    while not self._stopping.is_set():
                        tunnel.get("/bytes/20000")
                        self.answers += 1
                        time.sleep(pause_s)
            except (Refused, OSError, EOFError):
                self.cuts += 1
                time.sleep(0.05)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[tuple[Stack, EmbeddedPostgres]]:
    """A stack over a database that the test may stop."""
    folder = private_data_dir()
    server = EmbeddedPostgres(folder, free_port(), durable=False)
    url = server.start()
    upgrade(url)
    before = db.engine().url.render_as_string(hide_password=False) if db._engine is not None else None
    db.connect(url)
    with SimulatedProvider() as provider:
        relay = CountingRelay(provider.port)
        make_proxy(make_provider(Vault([SECRET]), port=relay.port))
        stack = Stack(url, tmp_path, provider, relay)
        try:
            yield stack, server
        finally:
            for one in stack.gateways:
                if one.process is not None and one.process.poll() is None:
                    one.kill()
            relay.close()
            db.engine().dispose()
            server.stop()
            shutil.rmtree(folder, ignore_errors=True)
            if before is not None:
                db.connect(before)


def test_a_database_that_is_away_for_twenty_seconds_cuts_nobody_and_loses_nothing(
    own_stack: tuple[Stack, EmbeddedPostgres],
) -> None:
    stack, server = own_stack
    user = make_user("enterprise")
    port = stack.gateway().port
    chips = [stack.chip(user) for _ in range(4)]
    load = Load(stack, [port], [(chip.chip_id, chip.gateway_token) for chip in chips], pause_s=0.05)
    wait_until(lambda: month_of(user.id).leased_bytes > AT_MOST_IN_OUTAGE_BYTES)  # a minute of this load, once known
    server.stop()
    at_the_stop = load.answers
    time.sleep(OUTAGE_S)
    assert load.answers > at_the_stop + 100, "running tunnels must go on within their leases"
    assert load.cuts == 0
    server.start()
    load.stop()
    db.engine().dispose()
    wait_until(lambda: settled(user.id, stack.relay), 30)
    assert load.cuts == 0


def settled(user_id: object, relay: CountingRelay) -> bool:
    try:
        return month_of(user_id).total_bytes == relay.total  # type: ignore[arg-type]
    except db.WhagoError:
        return False


def test_kill_9_under_load_neither_loses_nor_doubles_a_reported_byte(stack: Stack) -> None:
    user = make_user(make_plan(proxy_gb_limit=Decimal(5)))
    gateway = stack.gateway()
    chips = [stack.chip(user) for _ in range(4)]
    load = Load(stack, [gateway.port], [(chip.chip_id, chip.gateway_token) for chip in chips], pause_s=0)
    picker = random.Random(4)
    kills = 5
    for _ in range(kills):
        time.sleep(0.3 + picker.random())
        gateway.kill()
        gateway.start()
    load.stop()
    gateway.stop()
    billed, wire = month_of(user.id).total_bytes, stack.relay.total
    assert month_of(user.id).leased_bytes == 0
    # What the provider had sent and the killed process had not yet read is on the relay's count alone.
    assert billed <= wire + kills * len(chips) * CHUNK_BYTES
    unread = kills * len(chips) * 20_000 * 2
    assert billed >= wire - unread
