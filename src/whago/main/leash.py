"""Start child processes that cannot outlive this one, whatever ends it (``kill -9`` included).

Linux sends a child its "parent death signal" when the *thread* that made it ends, not the process (prctl(2)). So one
thread of this module makes every child, and it ends only with the process.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Final

LEASHED: Final = Path(__file__).with_name("leashed.py")


class StartError(Exception):
    """A part cannot start; the message is one sentence that says why and what to do."""


class TryLater(StartError):
    """What stands in the way may pass by itself (a server that is away, a full disk): starting again makes sense."""


@dataclass(frozen=True, slots=True)
class Account:
    """A system user that a child runs as."""

    name: str
    uid: int
    gid: int


def unprivileged_account() -> Account | None:
    """``nobody`` when we are root (PostgreSQL refuses to run as root), None when we already are an ordinary user."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise StartError("This machine has no user 'nobody' for the database: start as an ordinary user.") from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[Any] | None = None,
    stderr: int | IO[Any] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` in a session of its own (a Ctrl-C reaches only us), leashed to this process."""
    identity = (account.uid, account.gid) if account else (-1, -1)
    prefix = [sys.executable, "-I", "-S", str(LEASHED), str(os.getpid()), str(int(death_signal))]
    command = [*prefix, *map(str, identity), "--", *argv]
    options = {"env": env, "cwd": cwd, "stdin": stdin, "stdout": stdout, "stderr": stderr, "start_new_session": True}
    return _spawner().popen(command, options)


class _Spawner:
    """The one thread that makes children."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._orders: SimpleQueue[tuple[list[str], dict[str, Any], Future[subprocess.Popen[bytes]]]] = SimpleQueue()
        threading.Thread(target=self._serve, name="spawner", daemon=True).start()

    def popen(self, command: list[str], options: dict[str, Any]) -> subprocess.Popen[bytes]:
        made: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((command, options, made))
        return made.result()

    def _serve(self) -> None:
        while True:
            command, options, made = self._orders.get()
            try:
                made.set_result(subprocess.Popen(command, **options))
            except OSError as error:
                made.set_exception(error)


_current: _Spawner | None = None
_lock = threading.Lock()


def _spawner() -> _Spawner:
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid():  # a fork copies the object but not its thread
            _current = _Spawner()
        return _current
