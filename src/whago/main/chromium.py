"""A Chromium for the browser tests: found, or installed from Debian, or asked for loudly. Never skipped in silence."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

VARIABLE: Final = "CHROMIUM_PATH"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
INSTALL_TIMEOUT_S: Final = 900  # 300 MB over a slow line
ADVICE: Final = (
    f"There is no Chromium for the browser tests. On Debian or Ubuntu: apt-get install chromium. "
    f"Anywhere: set {VARIABLE} to the path of a Chromium or Chrome."
)


class ChromiumMissing(Exception):
    """There is none, and none could be installed; the message says how to get one."""


def find_chromium() -> Path | None:
    """The one that CHROMIUM_PATH names, else the first in PATH. Raises ChromiumMissing when the name is wrong."""
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise ChromiumMissing(f"{VARIABLE} names {named}, which is not a program.")
        return Path(named)
    found = (shutil.which(name) for name in NAMES)
    return next((Path(path) for path in found if path), None)


def obtain_chromium() -> Path:
    """Find one, or as root on Debian install one. Raises ChromiumMissing."""
    found = find_chromium()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing Chromium for the browser tests …", flush=True)
        _apt_get("update")
        _apt_get("install", "-y", "--no-install-recommends", "chromium")
        found = find_chromium()
    if found is None:
        raise ChromiumMissing(ADVICE)
    return found


def _apt_get(*arguments: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-q", *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ChromiumMissing(f"{' '.join(command)} took longer than {INSTALL_TIMEOUT_S} s. {ADVICE}") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ChromiumMissing(f"{' '.join(command)} failed: {' '.join(last)} {ADVICE}")
