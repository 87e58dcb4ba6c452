"""Debian's packages for the tests: installed as root, or with a sudo that asks for no password."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

INSTALL_TIMEOUT_S: Final = 900  # 300 MB over a slow line
SUDO_TIMEOUT_S: Final = 20
QUIET: Final = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # 1: what is installed shall not begin to serve


class AptFailed(Exception):
    """The message is apt's last word."""


def can_install() -> bool:
    """Whether this is Debian or a relative of it, and we may install there."""
    return shutil.which("apt-get") is not None and (os.geteuid() == 0 or _sudo_is_free())


def install(*packages: str) -> None:
    """Raises AptFailed."""
    _apt_get("update")
    _apt_get("install", "-y", "--no-install-recommends", *packages)


def _sudo_is_free() -> bool:
    if shutil.which("sudo") is None:
        return False
    try:
        return (
            subprocess.run(["sudo", "-n", "true"], capture_output=True, timeout=SUDO_TIMEOUT_S, check=False).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False


def _apt_get(*arguments: str) -> None:
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command = [*rights, "env", *(f"{name}={value}" for name, value in QUIET.items()), "apt-get", "-q", *arguments]
    told = f"apt-get {' '.join(arguments)}"
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise AptFailed(f"{told} took longer than {INSTALL_TIMEOUT_S} s.") from None
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise AptFailed(f"{told} failed: {' '.join(last)}")
