"""A Chromium for the browser tests: found, or installed from Debian, or asked for loudly. Never skipped in silence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from whago.main import apt

VARIABLE: Final = "CHROMIUM_PATH"
NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
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
    """Find one, or on Debian install one where that is allowed. Raises ChromiumMissing."""
    found = find_chromium()
    if found is None and apt.can_install():
        print("Installing Chromium for the browser tests …", flush=True)
        try:
            apt.install("chromium")
        except apt.AptFailed as error:
            raise ChromiumMissing(f"{error} {ADVICE}") from None
        found = find_chromium()
    if found is None:
        raise ChromiumMissing(ADVICE)
    return found
