"""Where chips and their engines find one another, out of the settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from whago.bridge.fleet import BridgeFleet
from whago.settings import Settings


def bridge_fleet(settings: Settings) -> BridgeFleet | None:
    """Our bridges, which announce themselves with the secret; None when there is none to share."""
    if settings.bridge_secret is None:
        return None
    return BridgeFleet(settings.bridge_secret.get_secret_value())


def gateway_address(settings: Settings) -> str:
    """``host:port`` that chips dial: the public host, with the gateway's port unless it names another."""
    host = settings.gateway_public_host or "127.0.0.1"
    has_port = urlsplit(f"//{host}").port is not None
    return host if has_port else f"{host}:{settings.gateway_port}"
