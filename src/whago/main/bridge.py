"""``whago bridge``: hand this process over to the Node bridge, with its settings under the names that it knows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from whago.errors import SettingsError
from whago.main.data_folder import default_data_dir
from whago.main.engines import gateway_address
from whago.main.node import BRIDGE_DIR, install_modules, node_binary
from whago.settings import Settings, load

DEFAULT_URL: Final = "http://127.0.0.1:3130"
SMALL_YOUNG_HEAP: Final = (
    "--max-semi-space-size=4"  # MiB: an idle chip then costs 1 MB instead of 2.5 (bridge/README.md)
)
EVENTS_PATH: Final = "/internal/bridge/events"


def run() -> None:
    """Never returns. Raises SettingsError or StartError when the bridge cannot run."""
    settings = load()
    environment = bridge_environment(settings)
    Path(environment["BRIDGE_DATA_DIR"]).mkdir(parents=True, exist_ok=True)
    install_modules()
    node = node_binary()
    title = f"whago bridge --port {environment['BRIDGE_PORT']}"  # what ps shows; Node finds itself by its real path
    argv = [title, "--disable-warning=ExperimentalWarning", SMALL_YOUNG_HEAP, str(BRIDGE_DIR / "src" / "main.ts")]
    os.chdir(BRIDGE_DIR)
    os.execve(node, argv, {**_inherited(), **environment})  # noqa: S606 - to replace this process is the point


def bridge_environment(settings: Settings) -> dict[str, str]:
    """The bridge's settings. Raises SettingsError without the secret that it shares with the backend."""
    if settings.bridge_secret is None:
        raise SettingsError("WHAGO_BRIDGE_SECRET is not set: the bridge and the backend prove themselves with it.")
    address = urlsplit(settings.bridge_url or DEFAULT_URL)
    return {
        "BRIDGE_HOST": address.hostname or "127.0.0.1",
        "BRIDGE_PORT": str(address.port or 80),
        "BRIDGE_SECRET": settings.bridge_secret.get_secret_value(),
        "BRIDGE_GATEWAY": gateway_address(settings),
        "BRIDGE_EVENTS_URL": settings.backend_url.rstrip("/") + EVENTS_PATH,
        "BRIDGE_DATA_DIR": str((settings.data_dir or default_data_dir()) / "bridge"),
    }


def _inherited() -> dict[str, str]:
    """Our environment without the product's own secrets: the bridge gets only what is meant for it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}
