"""What the web process is given when it starts. It reads no environment itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from whago.bridge.wire import BridgeChip, BridgePairing

LOCALES = Path(__file__).resolve().parents[3] / "locales"


class Bridge(Protocol):
    """What the web asks of the WhatsApp bridge. Every call may raise WhagoError: bridge_unavailable, bridge_refused."""

    def create(self, chip_id: UUID, proxy_url: str) -> BridgeChip: ...

    def get(self, chip_id: UUID) -> BridgeChip | None: ...

    def qr(self, chip_id: UUID) -> BridgePairing | None: ...

    def use_proxy(self, chip_id: UUID, proxy_url: str) -> BridgeChip: ...

    def stop(self, chip_id: UUID) -> BridgeChip | None: ...

    def delete(self, chip_id: UUID, logout: bool) -> bool: ...


@dataclass(frozen=True, slots=True)
class WebConfig:
    """``secrets``: newest first; the first signs and seals, all are believed. ``gateway_address``: what chips dial.

    ``broker_url`` keeps the counts of login attempts for all web processes; without one each process counts alone.
    """

    tz: ZoneInfo
    secrets: tuple[str, ...] = field(repr=False)
    gateway_address: str = "127.0.0.1:3128"
    allow_private_upstreams: bool = False
    bridge: Bridge | None = None
    bridge_secret: str | None = field(default=None, repr=False)
    broker_url: str | None = field(default=None, repr=False)
    public_url: str | None = None
    cookie_secure: bool = False
    locales: Path = LOCALES
