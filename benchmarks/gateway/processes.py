"""A gateway under test as a tree of processes: started on a leash, measured, stopped to the last child."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from benchmarks.gateway.install import Unavailable
from whago.main.leash import spawn

START_TIMEOUT_S: Final = 20.0  # mitmproxy makes keys before it listens; with migrations done, ours needs one second
STOP_TIMEOUT_S: Final = 6.0  # ours drains for five
QUIET_SHARE: Final = 0.05  # of one core: a process below it has finished what it was asked to do
QUIET_WINDOW_S: Final = 0.1
QUIET_WINDOWS: Final = 2  # in a row: on a crowded machine a busy process may stand still for one
QUIET_TIMEOUT_S: Final = 3.0  # some peers poll, and are never quiet
POLL_S: Final = 0.02
_COMPLAINT: Final = re.compile("fatal|alert|error", re.IGNORECASE)
_CLOCK_TICKS: Final = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED: Final = 2  # linux/posix-timers: the clock of a process is made from its pid and this


class Running:
    """One started program with all its children: they share a session of their own."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: Path, port: int) -> None:
        self.port = port
        self._log = folder / "output.log"
        with self._log.open("wb") as log:
            self._process = spawn(argv, env={**_clean(), **env}, cwd=folder, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        try:
            self._wait_for_port()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pids(self) -> list[int]:
        """The processes that live now."""
        return tree(self._process.pid)

    def cpu_s(self) -> float:
        """CPU seconds so far, user and system, of all its processes and of their children that have ended."""
        return cpu_of_tree_s(self._process.pid)

    def memory_kib(self) -> int:
        """Proportional set size of all its processes (shared pages are counted once)."""
        return sum(_pss_kib(pid) for pid in self.pids())

    def wait_until_quiet(self) -> None:
        """Let it finish what it still does about tunnels that are gone."""
        deadline = time.monotonic() + QUIET_TIMEOUT_S
        before, quiet = self.cpu_s(), 0
        while quiet < QUIET_WINDOWS and time.monotonic() < deadline:
            time.sleep(QUIET_WINDOW_S)
            now = self.cpu_s()
            quiet = quiet + 1 if now - before < QUIET_SHARE * QUIET_WINDOW_S else 0
            before = now

    def kill(self) -> None:
        """``kill -9`` for all of them; when it returns, none of them lives."""
        while pids := self.pids():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.poll()
            time.sleep(POLL_S)
        self._process.wait()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        self.kill()

    def last_words(self) -> str:
        """Its last complaint, or what it printed last, in one line."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        told = [line for line in lines if _COMPLAINT.search(line)] or lines
        return re.sub(r"\s+", " ", told[-1])[:200] if told else "it said nothing"

    def _wait_for_port(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Unavailable(f"it ended at its start: {self.last_words()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(POLL_S)
        raise Unavailable(f"it did not listen within {START_TIMEOUT_S:.0f} s: {self.last_words()}")


def _clean() -> dict[str, str]:
    """Our environment without the product's settings: the suite says what it runs with."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}


def tree(root: int) -> list[int]:
    """``root``, whoever descends from it, and whoever shares its session; without zombies."""
    found = {int(path.parent.name): fields for path in Path("/proc").glob("[0-9]*/stat") if (fields := _stat(path))}
    members = {pid for pid, fields in found.items() if pid == root or int(fields[3]) == root}
    while more := {pid for pid, fields in found.items() if int(fields[1]) in members} - members:
        members |= more
    return [pid for pid in members if found[pid][0] != "Z"]


def cpu_of_tree_s(root: int) -> float:
    return sum(_cpu_s(pid) for pid in tree(root))


def cpu_of_s(pid: int) -> float:
    """Of one process that has no children."""
    return _cpu_s(pid)


def _stat(path: Path) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name: state, parent, group, session, …"""
    try:
        return path.read_text().rpartition(")")[2].split()
    except OSError:  # it ended just now
        return None


def _cpu_s(pid: int) -> float:
    """Nanosecond clock of a living process, and the ticks of its children that were waited for."""
    fields = _stat(Path(f"/proc/{pid}/stat"))
    if fields is None:
        return 0.0
    ended_children = (int(fields[13]) + int(fields[14])) / _CLOCK_TICKS
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED) + ended_children
    except OSError:
        return 0.0


def _pss_kib(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) if found else 0
