"""A real gateway process over the in-memory control plane, for tests that kill it.

Every committed report is appended to a file as lines of JSON, so that a test knows what was committed before the kill.
Usage: gateway_process.py FOLDER UPSTREAM_PORT CHIP_COUNT SPLICE ALLOWED_PORT...
Prints the gateway's port once it listens.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from tests.gateway.control_double import TZ, Bank, Control
from tests.gateway.wire import PASSWORD, USERNAME
from whago.domain.rules.egress import EgressPolicy
from whago.gateway import poller
from whago.gateway.config import GatewayConfig, Limits
from whago.gateway.control import Report, TunnelUsage, Upstream
from whago.gateway.server import Gateway
from whago.kit import log

USER = UUID(int=7)


def row_of(usage: TunnelUsage) -> dict[str, int | str]:
    return {
        "tunnel": usage.tunnel_id,
        "up": usage.bytes_up,
        "down": usage.bytes_down,
        "overhead": usage.overhead,
        "hour": usage.hour.isoformat(),
    }


class WritingControl(Control):
    """Commits to a file."""

    def __init__(self, bank: Bank, file: Path) -> None:
        super().__init__(bank)
        self._file = file.open("a")

    async def report(self, report: Report) -> None:
        self._write(report.usages)
        await super().report(report)

    def _write(self, usages: Sequence[TunnelUsage]) -> None:
        for usage in usages:
            self._file.write(json.dumps(row_of(usage)) + "\n")
        self._file.flush()


def chip_ids(count: int) -> list[UUID]:
    return [UUID(int=100 + number) for number in range(count)]


async def main() -> None:
    log.configure("json", "gateway")  # to stderr: nobody reads stdout after the port
    folder, upstream_port, chips, splice, *ports = sys.argv[1:]
    bank = Bank()
    way = Upstream("http", "127.0.0.1", int(upstream_port), USERNAME, PASSWORD)
    for chip_id in chip_ids(int(chips)):
        bank.passes[chip_id] = replace(bank.add_chip(way, USER), chip_id=chip_id)
    config = GatewayConfig(
        counters_dir=Path(folder),
        port=0,
        egress=EgressPolicy(["localhost"], [int(port) for port in ports]),
        allow_private_upstreams=True,
        tz=TZ,
        limits=Limits(tunnels_per_chip=10_000),
        drain_s=0.2,
        splice=splice == "True",
    )
    gateway = Gateway(config, WritingControl(bank, Path(folder) / "committed.jsonl"))
    await gateway.start()
    print(gateway.address[1], flush=True)
    try:
        await gateway.run()
    finally:
        await gateway.stop()


if __name__ == "__main__":
    poller.run(main())
