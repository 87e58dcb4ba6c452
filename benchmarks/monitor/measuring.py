"""Runs clocks in processes of their own and looks, meanwhile, at what the database's processes hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

POLL_S: Final = 0.02
RUN_LIMIT_S: Final = 1_800


@dataclass(frozen=True, slots=True)
class Run:
    """Memory is the process's own: at its peak, and ``resting_mib`` before the clock ran.

    ``server_mib``: the most that one process of PostgreSQL held for itself, beside the shared buffers.
    """

    clock: str
    outcome: str
    seconds: float
    peak_mib: float
    resting_mib: float
    server_mib: float


def run_one(clock: str, *, url: str, zone: str, postmaster: int) -> Run:
    """One run of the clock, now. Raises RuntimeError when the process fails."""
    with _server_memory(postmaster) as peak:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.monitor.one_run", clock, zone],
            env={**os.environ, "BENCH_DATABASE_URL": url},
            capture_output=True,
            text=True,
            timeout=RUN_LIMIT_S,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{clock}: {done.stderr[-2000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    peak_mib, resting_mib = told["peak_kib"] / 1024, told["resting_kib"] / 1024
    return Run(clock, told["outcome"], told["seconds"], peak_mib, resting_mib, max(peak) / 1024)


@contextmanager
def _server_memory(postmaster: int) -> Iterator[list[int]]:
    """Fills with the private KiB of the largest child of the server, looked at many times a second."""
    seen = [0]
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(POLL_S):
            seen.append(max((_private_kib(pid) for pid in _children(postmaster)), default=0))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _children(parent: int) -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    except OSError:
        return []


def _private_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)
