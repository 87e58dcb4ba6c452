"""What a quiet chip costs, through everything that is real but WhatsApp itself.

    .venv/bin/python -m benchmarks.bridge --chips 20 --seconds 190

Bridge (Node, Baileys) → gateway → simulated provider → local stand-in of WhatsApp's edge; the bytes are read from the
ledger, as a customer would be billed. Real servers send more (presences, receipts, messages): this is the floor, and a
month is extrapolated from the seconds that were watched.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import func, select
from tests.bridge.conftest import SECRET, Backend, BridgeProcess, Edge, eventually, start_bridge, started_edge
from tests.conftest import SECRET as SECRET_KEY
from tests.factories import TZ, make_plan, make_provider, make_proxy, make_user
from tests.spine.conftest import GatewayProcess

from whago.bridge.client import BridgeClient
from whago.bridge.wire import gateway_urls
from whago.domain.actions.chips import create_chip, renew_gateway_token
from whago.domain.models import Engine, UsageLog, User
from whago.domain.rules.thrift import MONTH_S, Thrift, quiet_month_bytes
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.main.bridge import SMALL_YOUNG_HEAP
from whago.main.embedded import EmbeddedPostgres, free_port, private_data_dir
from whago.main.migrate import upgrade
from whago.simulator import SimulatedProvider

SETTLE_S = 15.0  # the last pre-keys are stored, the last counters reported, the garbage of pairing collected
PAIRING_S = 300.0  # of all chips, on a slow machine
MB = 1_000_000


class Site:
    """All parts, for as long as the measurement takes."""

    def __init__(self, stack: ExitStack, folder: Path, chips: int) -> None:
        server = stack.enter_context(EmbeddedPostgres(private_data_dir(), durable=False))
        upgrade(server.url)
        db.connect(server.url)
        self.edge: Edge = stack.enter_context(started_edge(folder))
        targets = [f"*.whatsapp.com:443=127.0.0.1:{self.edge.port}"]
        provider = stack.enter_context(SimulatedProvider(targets=targets))
        make_proxy(make_provider(Vault([SECRET_KEY]), port=provider.port))
        self.gateway = GatewayProcess(server.url, folder)
        self.gateway.start()
        stack.callback(self.gateway.stop)
        self.address = f"127.0.0.1:{self.gateway.port}"
        self.backend = Backend(gateway_address=self.address)
        self.backend.start()
        stack.callback(self.backend.close)
        self.user: User = make_user(make_plan(max_chips=chips))
        self.chips: list[UUID] = []
        self.start_bridge(str(free_port()))
        stack.callback(lambda: self.bridge.stop())

    def start_bridge(self, port: str) -> None:
        """With the flag of ``whago bridge``."""
        changes = {"BRIDGE_MAX_CHIPS": "1000", "BRIDGE_PORT": port}
        self.bridge: BridgeProcess = start_bridge(
            self.edge, self.address, self.backend.url, SMALL_YOUNG_HEAP, **changes
        )
        self.client = BridgeClient(self.bridge.url, SECRET)

    def restart_bridge(self) -> None:
        self.client.close()
        self.bridge.stop()
        self.start_bridge(self.bridge.url.rpartition(":")[2])

    def resume(self, thrift: Thrift) -> None:
        for chip_id in self.chips:
            token = renew_gateway_token(self.user.id, chip_id, now=clock.now())
            url = gateway_urls(self.address, chip_id, token)["proxy_url"]
            self.client.create(chip_id, url, thrift=thrift)
        self.until_open(len(self.chips))

    def pair(self, number: int, thrift: Thrift) -> None:
        made = create_chip(
            self.user.id, alias=f"chip {number}", engine=Engine.BRIDGE, region=None, now=clock.now(), tz=TZ
        )
        url = gateway_urls(self.address, made.chip_id, made.gateway_token)["proxy_url"]
        self.client.create(made.chip_id, url, thrift=thrift)
        pairing = eventually(lambda: self.client.qr(made.chip_id), lambda one: one is not None, "a QR code", PAIRING_S)
        assert pairing is not None
        self.edge.tell("scan", qr=pairing.qr, phone=f"55119{number:08}")
        self.chips.append(made.chip_id)

    def until_open(self, chips: int) -> None:
        eventually(
            lambda: [chip.state for chip in self.client.list().items].count("open"),
            lambda count: count == chips,
            "all chips to be open",
            PAIRING_S,
        )

    def billed(self) -> int:
        with db.transaction() as tx:
            query = select(func.sum(UsageLog.bytes_transferred)).where(UsageLog.user_id == self.user.id)
            return int(tx.scalar(query) or 0)

    def resident_bytes(self) -> int:
        text = httpx.get(f"{self.bridge.url}/metrics", trust_env=False).text
        line = next(line for line in text.splitlines() if line.startswith("process_resident_memory_bytes "))
        return int(float(line.split()[1]))


def main() -> None:
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="whago-bench-"))
    try:
        with ExitStack() as stack:
            site = Site(stack, folder, options.chips)
            _measure(site, options.chips, options.seconds, Thrift(keep_alive_s=options.keep_alive))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(site: Site, chips: int, seconds: int, thrift: Thrift) -> None:
    for number in range(chips):
        site.pair(number, thrift)
    site.until_open(chips)
    time.sleep(SETTLE_S)
    paired = site.billed()
    site.restart_bridge()
    empty = site.resident_bytes()
    began = time.monotonic()
    site.resume(thrift)
    resumed_s = time.monotonic() - began
    time.sleep(SETTLE_S)
    resumed = site.billed()
    time.sleep(seconds)
    each = (site.resident_bytes() - empty) / chips / MB
    idle = (site.billed() - resumed) / chips / seconds
    _say(f"chips              {chips}; open {resumed_s:.0f} s after a restart of the bridge")
    _say(f"pairing and login  {paired / chips / 1000:.1f} kB a chip, billed; the first 812 pre-keys are most of it")
    _say(f"login              {(resumed - paired) / chips / 1000:.1f} kB a chip, billed")
    _say(f"memory             {empty / MB:.0f} MB empty, {each:.2f} MB more for each idle chip")
    _say(f"quiet              {idle * 3600 / 1000:.1f} kB an hour at a keep-alive of {thrift.keep_alive_s} s")
    _say(f"                   = {idle * MONTH_S / MB:.1f} MB a month of 30 days (extrapolated from {seconds} s)")
    _say(f"the product says   {quiet_month_bytes(thrift.keep_alive_s) / MB:.1f} MB a month, two logins a day included")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge", description=__doc__)
    parser.add_argument("--chips", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=190, help="how long the quiet chips are watched")
    parser.add_argument("--keep-alive", type=int, default=30, help="seconds between two pings of a chip")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
