"""Our gateway with a control plane in memory: ``python -m benchmarks.gateway.memory_gateway CONFIG.json``.

It measures the data plane alone: passes and leases are there, at the price of a dictionary.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from benchmarks.gateway.ends import PROVIDER_PASSWORD, TARGET
from whago.domain.rules.egress import EgressPolicy
from whago.gateway.config import GatewayConfig
from whago.gateway.control import Change, ChipPass, Grant, LeaseAnswer, Refused, Report, TunnelUsage, Upstream
from whago.gateway.poller import run as run_on_its_loop
from whago.gateway.server import serve
from whago.kit import log

LEASE_VALID_S: Final = 60.0
CHIPS_PER_USER: Final = 25


class MemoryControl:
    """Implements ``whago.gateway.control.Control``. ``reported`` holds the newest counters, as a ledger would."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.boot_id = uuid.uuid4()
        self._passes = {one.chip_id: one for one in map(_pass, _numbered(config))}
        self._granted: dict[tuple[UUID, date], int] = {}
        self.reported: dict[int, TunnelUsage] = {}

    async def authorise(self, chip_id: UUID) -> ChipPass | Refused:
        return self._passes.get(chip_id) or Refused("bad_credential")

    async def lease(self, user_id: UUID, month: date, want_bytes: int) -> LeaseAnswer:
        granted = self._granted.get((user_id, month), 0) + want_bytes
        self._granted[user_id, month] = granted
        return Grant(granted, admits=True, valid_s=LEASE_VALID_S)

    async def report(self, report: Report) -> None:
        self._keep(report.usages)

    async def settle(self, boot_id: UUID, usages: Sequence[TunnelUsage]) -> None:  # noqa: ARG002
        self._keep(usages)

    async def changes(self) -> AsyncIterator[Change]:
        await asyncio.Event().wait()
        yield Change("resync")

    async def followed(self, token: UUID) -> None:
        """Nobody waits here."""

    def _keep(self, usages: Sequence[TunnelUsage]) -> None:
        """The last report only: this plane's memory must not be taken for the gateway's."""
        self.reported = {usage.tunnel_id: usage for usage in usages}


def _numbered(config: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**chip, "number": number, "provider_port": config["provider_port"]}
        for number, chip in enumerate(config["chips"])
    ]


def _pass(chip: dict[str, Any]) -> ChipPass:
    def named(kind: str, number: int) -> UUID:
        return uuid.uuid5(uuid.NAMESPACE_URL, f"whago-benchmark-{kind}-{number}")

    return ChipPass(
        chip_id=UUID(chip["name"]),
        user_id=named("user", chip["number"] // CHIPS_PER_USER),
        assignment_id=named("assignment", chip["number"]),
        proxy_id=named("proxy", 0),
        provider_id=named("provider", 0),
        price_id=1,
        credential_hash=hashlib.sha256(chip["token"].encode()).digest(),
        upstream=Upstream("http", "127.0.0.1", chip["provider_port"], chip["upstream_user"], PROVIDER_PASSWORD),
    )


def main() -> None:
    config = json.loads(Path(sys.argv[1]).read_text())
    log.configure("json", "gateway")
    gateway = GatewayConfig(
        counters_dir=Path(config["folder"]) / "counters",
        port=config["port"],
        egress=EgressPolicy([TARGET.partition(":")[0]]),
        allow_private_upstreams=True,
        splice=config["splice"],
    )

    async def run() -> None:
        await serve(gateway, MemoryControl(config))

    run_on_its_loop(run())


if __name__ == "__main__":
    main()
