"""What the web process is given when it starts. It reads no environment itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.bridge.wire import BridgeChip, BridgePairing
from whago.domain.rules.thrift import Thrift
from whago.kit.languages import LOCALES


class Bridge(Protocol):
    """What the web asks of the WhatsApp bridges. Every call may raise bridge_unavailable or bridge_refused."""

    def create(self, chip_id: UUID, proxy_url: str, thrift: Thrift = ...) -> BridgeChip: ...

    def get(self, chip_id: UUID) -> BridgeChip | None: ...

    def qr(self, chip_id: UUID) -> BridgePairing | None: ...

    def pairing_code(self, chip_id: UUID, phone: str) -> BridgePairing: ...

    def spare(self, chip_id: UUID, thrift: Thrift) -> BridgeChip | None: ...

    def stop(self, chip_id: UUID) -> BridgeChip | None: ...

    def logout(self, chip_id: UUID) -> bool: ...

    def delete(self, chip_id: UUID, logout: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class WebConfig:
    """``rotations_per_day``: of one chip by its owner. ``probe_bytes_per_day``: the budget of our health probes.

    ``secrets``: newest first; the first signs and seals, all are believed. ``gateway_address``: what chips dial.

    ``require_staff_totp``: whoever has a role of the house sets two-step sign-in up before anything else.

    ``broker_url`` keeps the counts of login attempts for all web processes; without one each process counts alone.
    """

    tz: ZoneInfo
    secrets: tuple[str, ...] = field(repr=False)
    gateway_address: str = "127.0.0.1:3128"
    allow_private_upstreams: bool = False
    rotations_per_day: int = 10
    probe_bytes_per_day: int = 50_000_000
    bridge: Bridge | None = None
    bridge_secret: str | None = field(default=None, repr=False)
    broker_url: str | None = field(default=None, repr=False)
    public_url: str | None = None
    cookie_secure: bool = False
    require_staff_totp: bool = False
    locales: Path = LOCALES
