"""``whago bridge``: hand this process over to the Node bridge, with its settings under the names that it knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from whago.errors import SettingsError
from whago.main.engines import gateway_address
from whago.main.node import BRIDGE_DIR, install_modules, node_binary
from whago.settings import Settings, load

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 3130
HTTP_PORT: Final = 80  # of a URL that names none
SMALL_YOUNG_HEAP: Final = (
    "--max-semi-space-size=4"  # MiB: an idle chip then costs 1 MB instead of 2.5 (bridge/README.md)
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one bridge listens, and where the backend reaches it; None: as ``WHAGO_BRIDGE_URL`` says, else as usual."""

    host: str | None = None
    port: int | None = None
    url: str | None = None
    max_chips: int | None = None


def run(place: Place) -> None:
    """Never returns. Raises SettingsError or StartError when the bridge cannot run."""
    settings = load()
    environment = bridge_environment(settings, place)
    install_modules()
    node = node_binary()
    title = f"whago bridge --port {environment['BRIDGE_PORT']}"  # what ps shows; Node finds itself by its real path
    argv = [title, "--disable-warning=ExperimentalWarning", SMALL_YOUNG_HEAP, str(BRIDGE_DIR / "src" / "main.ts")]
    os.chdir(BRIDGE_DIR)
    os.execve(node, argv, {**_inherited(), **environment})  # noqa: S606 - to replace this process is the point


def bridge_environment(settings: Settings, place: Place) -> dict[str, str]:
    """The bridge's settings. Raises SettingsError without the secret that it shares with the backend."""
    if settings.bridge_secret is None:
        raise SettingsError("WHAGO_BRIDGE_SECRET is not set: the bridge and the backend prove themselves with it.")
    usual = urlsplit(settings.bridge_url or f"http://{DEFAULT_HOST}:{DEFAULT_PORT}")
    return {
        "BRIDGE_HOST": place.host or usual.hostname or DEFAULT_HOST,
        "BRIDGE_PORT": str(place.port if place.port is not None else usual.port or HTTP_PORT),
        "BRIDGE_SECRET": settings.bridge_secret.get_secret_value(),
        "BRIDGE_GATEWAY": gateway_address(settings),
        "BRIDGE_BACKEND_URL": settings.backend_url.rstrip("/"),
        **({"BRIDGE_PUBLIC_URL": place.url} if place.url else {}),
        **({"BRIDGE_MAX_CHIPS": str(place.max_chips)} if place.max_chips else {}),
    }


def _inherited() -> dict[str, str]:
    """Our environment without the product's own secrets: the bridge gets only what is meant for it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}
