"""Debian's PostgreSQL and Redis for the tests over an operator's own servers: found, or installed, or asked for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from whago.main import apt

PACKAGES: Final = ("postgresql", "redis-server")
POSTGRES_FOLDERS: Final = Path("/usr/lib/postgresql")  # one per major version
ADVICE: Final = (
    f"The tests over an operator's own servers need Debian's packages {' and '.join(PACKAGES)}: "
    f"apt-get install {' '.join(PACKAGES)}."
)


class ServersMissing(Exception):
    """They are not there and could not be installed; the message says how to get them."""


@dataclass(frozen=True, slots=True)
class DebianServers:
    """``postgres``: the folder of PostgreSQL's programs. ``redis``: the program."""

    postgres: Path
    redis: Path


def find_servers() -> DebianServers | None:
    """Those of this machine; of several PostgreSQL versions the newest."""
    redis = shutil.which("redis-server")
    versions = sorted(POSTGRES_FOLDERS.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    return DebianServers(versions[-1].parent, Path(redis)) if redis and versions else None


def obtain_servers() -> DebianServers:
    """Find them, or install them where that is allowed. Raises ServersMissing."""
    found = find_servers()
    if found is None and apt.can_install():
        print(f"Installing {' and '.join(PACKAGES)} for the tests …", flush=True)
        try:
            apt.install(*PACKAGES)
        except apt.AptFailed as error:
            raise ServersMissing(f"{error} {ADVICE}") from None
        found = find_servers()
    if found is None:
        raise ServersMissing(ADVICE)
    return found
