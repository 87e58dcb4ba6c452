"""How long something takes, and how much of that is work: what this process and the database's computed for it.

On a machine that others share, the time on the wall says as much of them as of us; the work is the same on a quiet one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TICK_MS: Final = 1000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Took:
    """Milliseconds on the wall, and of processors at work."""

    wall_ms: float
    work_ms: float


class Watch:
    """Counts this process, and those of the PostgreSQL under ``postmaster`` that serve it."""

    def __init__(self, postmaster: int) -> None:
        self.postmaster = postmaster

    def took(self, work: Callable[[], Any]) -> Took:
        before, began = self._spent_ms(), time.perf_counter()
        work()
        wall_ms = (time.perf_counter() - began) * 1000
        return Took(wall_ms, self._spent_ms() - before)

    def _spent_ms(self) -> float:
        return time.process_time() * 1000 + self._ended_ms() + sum(map(_served_ms, _children(self.postmaster)))

    def _ended_ms(self) -> float:
        """Of those that have ended, which parallel workers do after each query."""
        fields = Path(f"/proc/{self.postmaster}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[13]) + int(fields[14])) * TICK_MS  # cutime, cstime: proc(5)


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _served_ms(pid: int) -> float:
    """Nanoseconds on a processor are the first figure of schedstat; housekeeping of the server is left out."""
    try:
        name = Path(f"/proc/{pid}/cmdline").read_bytes()
        if not name.startswith((b"postgres: whago", b"postgres: parallel worker")):
            return 0.0
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e6
    except OSError:  # it has ended
        return 0.0
