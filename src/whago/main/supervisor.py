"""Keep child processes running, show what they say, and end them in order.

A child that ends by itself is started again with a growing wait. Nothing outlives the supervisor: ``stop`` ends all of
them within ``STOP_BUDGET_S``, and the leash (``leash.py``) ends them when the supervisor itself is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from whago.main.backoff import Backoff
from whago.main.console import Console
from whago.main.leash import Account, StartError, spawn

STOP_BUDGET_S: Final = 9.0  # everything is gone within 10 s, reaping included
FOUNDATION_SHARE_S: Final = 2.0  # of that, what the database and the broker may take after the others
POLL_S: Final = 0.05
LINE_BYTES: Final = 16_384  # a longer line is cut into several: no child can make us hold much
SETTLED_EXIT_CODE: Final = 2  # the child said in a sentence why it cannot run: trying again changes nothing
TRIES_TO_START: Final = 3  # crashes before the first readiness that are still put down to bad luck
READERS_JOIN_S: Final = 1.0  # the pipe is closed by then, unless a stranger inherited it


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Spec:
    """One child: how to start it, how to know that it serves, how to end it.

    ``ready`` must answer quickly (2 s at most). ``before`` runs ahead of every start and may raise ``StartError``.
    A ``foundation`` is stopped after all the others. With a ``gate`` the child is started at once, and its standard
    input ends when the gate opens: time for it to load.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None
    ready: Callable[[], bool] = _always
    before: Callable[[], None] | None = None
    account: Account | None = None
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    death_signal: signal.Signals = signal.SIGKILL
    foundation: bool = False
    gate: threading.Event | None = None
    backoff: Backoff = field(default_factory=Backoff)


class Child:
    """One supervised process, in all its runs."""

    def __init__(self, spec: Spec, console: Console) -> None:
        self.spec = spec
        self.crashes = 0
        self.last_code: int | None = None
        self.last_line = ""
        self._console = console
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()  # a start and a stop must not cross
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"keep {spec.name}", daemon=True)
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process else None

    @property
    def running(self) -> bool:
        return self._process is not None

    def ask_to_stop(self) -> None:
        """Send the stop signal once and start it no more."""
        with self._lock:
            self._stopping.set()
            self._send(self.spec.stop_signal)

    def hurry(self) -> None:
        """End it and everything it started, now."""
        with self._lock:
            self._stopping.set()
            self._send(self.spec.hurry_signal)

    def kill(self) -> None:
        with self._lock:
            self._stopping.set()
            self._send(signal.SIGKILL)

    def join(self, timeout_s: float) -> bool:
        """Whether it is gone, after waiting up to ``timeout_s``."""
        self._keeper.join(max(timeout_s, 0))
        return not self._keeper.is_alive()

    def _send(self, number: signal.Signals) -> None:
        process = self._process
        if process is None:
            return
        try:
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                os.kill(process.pid, number)
        except ProcessLookupError:
            pass

    def _keep(self) -> None:
        while not self._stopping.is_set():
            began = time.monotonic()
            self._run()
            if self._stopping.is_set():
                return
            self.crashes += 1
            wait_s = self.spec.backoff.after(time.monotonic() - began)
            self._console.say(f"{self.spec.name} {self._ending()}; it starts again in {wait_s:g} s")
            self._stopping.wait(wait_s)

    def _run(self) -> None:
        """One run, from start to reaping; whatever the child left behind in its group ends with it."""
        self.last_code = None
        process = self._start()
        if process is None or process.stdout is None:
            return
        reader = threading.Thread(target=self._read, args=(process.stdout,), name=f"read {self.spec.name}", daemon=True)
        reader.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # not reaped yet: the group's number stays ours
        with self._lock:
            self._send(signal.SIGKILL)
            self._process = None
        self.last_code = process.wait()
        reader.join(READERS_JOIN_S)

    def _start(self) -> subprocess.Popen[bytes] | None:
        spec = self.spec
        try:
            if spec.before is not None:
                spec.before()
            with self._lock:
                if self._stopping.is_set():
                    return None
                self._process = spawn(
                    spec.argv,
                    env=spec.env,
                    cwd=spec.cwd,
                    account=spec.account,
                    death_signal=spec.death_signal,
                    stdin=subprocess.PIPE if self._held() else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            if self._process.stdin is not None:
                threading.Thread(target=self._let_go, args=(self._process.stdin,), daemon=True).start()
            return self._process
        except (StartError, OSError) as error:
            self.last_line = str(error)
            self._console.say(self.last_line, spec.name)
            return None

    def _held(self) -> bool:
        return self.spec.gate is not None and not self.spec.gate.is_set()

    def _let_go(self, stdin: IO[bytes]) -> None:
        """Ends the child's standard input when the gate opens."""
        if self.spec.gate is not None:
            self.spec.gate.wait()
        stdin.close()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while raw := stream.readline(LINE_BYTES):
                line = raw.decode(errors="replace").rstrip("\r\n")
                if line:
                    self.last_line = line
                self._console.say(line, self.spec.name)

    def _ending(self) -> str:
        if self.last_code is None:
            return "could not be started"
        if self.last_code < 0:
            return f"was ended by {signal.Signals(-self.last_code).name}"
        return f"ended with code {self.last_code}"


class Supervisor:
    """All children of one ``up``. ``stop_budget_s``: in that time ``stop`` ends all of them."""

    def __init__(self, console: Console, stop_budget_s: float = STOP_BUDGET_S) -> None:
        self._console = console
        self._stop_budget_s = stop_budget_s
        self._children: dict[str, Child] = {}

    def start(self, spec: Spec) -> Child:
        child = self._children[spec.name] = Child(spec, self._console)
        return child

    def child(self, name: str) -> Child:
        return self._children[name]

    def wait_ready(self, names: Iterable[str], timeout_s: float) -> None:
        """Until all of them serve. Raises ``StartError`` with the name and last words of one that does not."""
        deadline = time.monotonic() + timeout_s
        for name in names:
            self._wait_one(self._children[name], deadline, timeout_s)

    def stop(self) -> None:
        """End everything: first what serves, then what it stands on; by force where asking does not help."""
        deadline = time.monotonic() + self._stop_budget_s
        serving = [child for child in self._children.values() if not child.spec.foundation]
        foundations = [child for child in self._children.values() if child.spec.foundation]
        self._stop_all(serving, deadline - FOUNDATION_SHARE_S)
        self._stop_all(foundations, deadline)

    def hurry(self) -> None:
        """End everything at once; ``stop`` still waits for the ends."""
        for child in self._children.values():
            child.hurry()

    def _wait_one(self, child: Child, deadline: float, timeout_s: float) -> None:
        while not (child.running and child.spec.ready()):
            if child.crashes >= TRIES_TO_START or (child.crashes and child.last_code == SETTLED_EXIT_CODE):
                raise StartError(f"{child.spec.name} does not start: {child.last_line or 'it said nothing'}")
            if time.monotonic() > deadline:
                raise StartError(f"{child.spec.name} is not ready after {timeout_s:g} s: see its lines above.")
            time.sleep(POLL_S)

    def _stop_all(self, children: list[Child], deadline: float) -> None:
        for child in children:
            child.ask_to_stop()
        left = [child for child in children if not child.join(deadline - time.monotonic())]
        for child in left:
            self._console.say(f"{child.spec.name} did not stop when asked: it is ended by force")
            child.kill()
        for child in left:
            child.join(POLL_S * 10)
