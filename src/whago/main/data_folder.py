"""The folder in which ``whago up`` keeps everything: secrets, databases, counters. One ``up`` at a time uses it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from whago.main.embedded import free_port, port_is_free
from whago.main.leash import StartError
from whago.main.private_files import kept_secret, read_secret, write_private

PASSABLE: Final = 0o711  # the database's user passes through when we are root; it cannot list, and secrets are 0600
PASSWORD_BYTES: Final = 12  # 16 characters to type: 96 bits


def default_data_dir(*, demo: bool = False) -> Path:
    """``/var/lib/whago`` as root, else the user's data folder; a demo keeps to itself below it."""
    if os.geteuid() == 0:
        folder = Path("/var/lib/whago")
    else:
        folder = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "whago"
    return folder / "demo" if demo else folder


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The account that ``up`` made; ``password`` is None when the environment gave it."""

    email: str
    password: str | None = field(default=None, repr=False)


class DataFolder:
    """Raises StartError with one sentence for a folder that cannot be used or is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self._lock: IO[str] | None = None

    def claim(self) -> None:
        """Make the folder and hold it until this process ends."""
        try:
            if not self.path.is_dir():
                self.path.mkdir(parents=True)
                self.path.chmod(PASSABLE)
            self._lock = (self.path / "up.lock").open("a+")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(f"Another whago already runs on {self.path} ({self._holder()}): stop it first.") from None
        except OSError as error:
            raise StartError(f"The data folder {self.path} cannot be used: {error.strerror}. Try --data DIR.") from None
        self._lock.truncate(0)
        self._lock.write(f"{os.getpid()}\n")
        self._lock.flush()

    def secret(self, name: str) -> str:
        """A random secret that stays the same for the life of the folder."""
        return kept_secret(self.path / name)

    def port(self, name: str) -> int:
        """A port for an internal part: the same one every time, unless somebody else has taken it."""
        path = self.path / f"{name}-port"
        kept = read_secret(path)
        if kept is not None and kept.isdigit() and port_is_free("127.0.0.1", int(kept)):
            return int(kept)
        port = free_port()
        write_private(path, f"{port}\n")
        return port

    def first_admin(self) -> FirstAdmin | None:
        """What ``keep_first_admin`` kept."""
        kept = read_secret(self.path / "first-admin.json")
        return FirstAdmin(**json.loads(kept)) if kept is not None else None

    def keep_first_admin(self, admin: FirstAdmin) -> None:
        write_private(
            self.path / "first-admin.json", json.dumps({"email": admin.email, "password": admin.password}) + "\n"
        )

    def _holder(self) -> str:
        number = (read_secret(self.path / "up.lock") or "").strip()
        return f"process {number}" if number else "starting just now"


def new_password() -> str:
    """For a first account: random, and short enough to be typed."""
    return secrets.token_urlsafe(PASSWORD_BYTES)
