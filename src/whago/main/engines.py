"""Where chips and their engines find one another, out of the settings."""

from __future__ import annotations

from urllib.parse import urlsplit

from whago.bridge.client import BridgeClient
from whago.settings import Settings


def bridge_client(settings: Settings) -> BridgeClient | None:
    """The client of our bridge; None when no bridge is configured."""
    if settings.bridge_url is None or settings.bridge_secret is None:
        return None
    return BridgeClient(settings.bridge_url, settings.bridge_secret.get_secret_value())


def gateway_address(settings: Settings) -> str:
    """``host:port`` that chips dial: the public host, with the gateway's port unless it names another."""
    host = settings.gateway_public_host or "127.0.0.1"
    has_port = urlsplit(f"//{host}").port is not None
    return host if has_port else f"{host}:{settings.gateway_port}"
