"""The supervisor under crashes, deaf children, grandchildren and its own sudden death."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from whago.main.backoff import Backoff
from whago.main.console import Console
from whago.main.leash import StartError
from whago.main.supervisor import Spec, Supervisor

PATIENCE_S = 20.0  # for things that take milliseconds on an idle machine
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
PARENT = """
import subprocess, sys, time
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf])
print("grandchild", child.pid, flush=True)
time.sleep(600)
"""
SLOW_ENDING = """
import signal, sys, time
def end(*_):
    print("ending", flush=True)
    time.sleep({})
    print("gone", flush=True)
    sys.exit()
signal.signal(15, end)
print("up", flush=True)
while True:
    time.sleep(1)
"""


class Rig:
    """A supervisor whose console can be read."""

    def __init__(self) -> None:
        self.told = io.StringIO()
        self.supervisor = Supervisor(Console(self.told, colour=False))

    def start(self, name: str, code: str, **options: object) -> None:
        quick = Backoff(first_s=0.05, greatest_s=0.4)
        argv = [sys.executable, "-c", code]
        self.supervisor.start(Spec(name, argv, backoff=quick, **options))  # type: ignore[arg-type]

    def lines(self, name: str) -> list[str]:
        said = (line.split(" | ", 1) for line in self.told.getvalue().splitlines())
        return [rest for who, rest in said if who.strip() == name]

    def until_said(self, name: str, text: str, times: int = 1) -> None:
        until(lambda: sum(text in line for line in self.lines(name)) >= times, f"{name} says {text!r} {times} times")


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.supervisor.hurry()
    made.supervisor.stop()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether the process still runs: one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def pid_of(rig: Rig, name: str) -> int:
    until(lambda: rig.supervisor.child(name).pid is not None, f"{name} has a process")
    pid = rig.supervisor.child(name).pid
    assert pid is not None
    return pid


def test_it_shows_every_line_with_the_name_of_the_child(rig: Rig) -> None:
    rig.start(
        "talker", "import sys, time; print('out'); print('err', file=sys.stderr); sys.stdout.flush(); time.sleep(600)"
    )
    rig.until_said("talker", "out")
    rig.until_said("talker", "err")


def test_it_starts_a_crashed_child_again(rig: Rig) -> None:
    rig.start("worker", SLEEPER)
    rig.until_said("worker", "up")
    first = pid_of(rig, "worker")
    os.kill(first, signal.SIGKILL)
    rig.until_said("worker", "up", times=2)
    assert pid_of(rig, "worker") != first
    rig.until_said("whago", "worker was ended by SIGKILL; it starts again in 0.05 s")


def test_it_waits_longer_after_every_crash(rig: Rig) -> None:
    rig.start("worker", "raise SystemExit(3)")
    rig.until_said("whago", "worker ended with code 3; it starts again in 0.4 s", times=2)
    waits = [float(line.split(" in ")[1].split()[0]) for line in rig.lines("whago")]
    assert waits[:5] == [0.05, 0.1, 0.2, 0.4, 0.4]


def test_a_long_run_makes_the_next_wait_short_again() -> None:
    backoff = Backoff(first_s=1, greatest_s=8, stable_s=30)
    assert [backoff.after(0) for _ in range(5)] == [1, 2, 4, 8, 8]
    assert backoff.after(29.9) == 8
    assert backoff.after(30) == 1
    assert backoff.after(0) == 2


def test_a_held_child_begins_when_the_gate_opens_and_needs_no_gate_again(rig: Rig) -> None:
    gate = threading.Event()
    rig.start("worker", "import sys, time; print('loaded', flush=True); sys.stdin.read(); " + SLEEPER, gate=gate)
    rig.until_said("worker", "loaded")
    assert rig.lines("worker") == ["loaded"]
    gate.set()
    rig.until_said("worker", "up")
    os.kill(pid_of(rig, "worker"), signal.SIGKILL)
    rig.until_said("worker", "up", times=2)


def test_children_of_a_crashed_child_go_with_it(rig: Rig) -> None:
    rig.start("gateway", PARENT)
    rig.until_said("gateway", "grandchild")
    grandchild = int(rig.lines("gateway")[0].split()[1])
    os.kill(pid_of(rig, "gateway"), signal.SIGKILL)
    until(lambda: not alive(grandchild), "the grandchild is gone")


def test_stop_ends_willing_and_deaf_children_and_their_children(rig: Rig) -> None:
    rig.start("willing", SLEEPER)
    rig.start("deaf", DEAF)
    rig.start("parent", PARENT)
    for name, word in (("willing", "up"), ("deaf", "up"), ("parent", "grandchild")):
        rig.until_said(name, word)
    pids = [pid_of(rig, name) for name in ("willing", "deaf", "parent")]
    pids.append(int(rig.lines("parent")[0].split()[1]))
    rig.supervisor.stop()
    assert [pid for pid in pids if alive(pid)] == []
    assert rig.lines("whago") == ["deaf did not stop when asked: it is ended by force"]


def test_hurry_does_not_wait_for_a_deaf_child(rig: Rig) -> None:
    rig.start("deaf", DEAF)
    rig.until_said("deaf", "up")
    pid = pid_of(rig, "deaf")
    rig.supervisor.hurry()
    rig.supervisor.stop()
    assert not alive(pid)
    assert rig.lines("whago") == []


def test_foundations_end_after_what_stands_on_them(rig: Rig) -> None:
    rig.start("database", SLOW_ENDING.format(0), foundation=True)
    rig.start("web", SLOW_ENDING.format(0.5))
    rig.until_said("database", "up")
    rig.until_said("web", "up")
    rig.supervisor.stop()
    told = [line.replace(" ", "") for line in rig.told.getvalue().splitlines()]
    assert told.index("web|gone") < told.index("database|ending")


def test_a_child_that_cannot_run_is_told_with_its_own_words(rig: Rig) -> None:
    rig.start("web", "import sys; print('WHAGO_SMTP_URL is wrong.'); sys.exit(2)", ready=lambda: False)
    with pytest.raises(StartError, match=r"web does not start: WHAGO_SMTP_URL is wrong\."):
        rig.supervisor.wait_ready(["web"], PATIENCE_S)


def test_a_program_that_is_missing_is_told(rig: Rig) -> None:
    rig.supervisor.start(Spec("ghost", ["/no/such/program"], backoff=Backoff(first_s=0.01), ready=lambda: False))
    with pytest.raises(StartError, match=r"ghost does not start: /no/such/program does not start: No such file"):
        rig.supervisor.wait_ready(["ghost"], PATIENCE_S)


def test_a_child_that_never_serves_is_named(rig: Rig) -> None:
    rig.start("web", SLEEPER, ready=lambda: False)
    with pytest.raises(StartError, match=r"web is not ready after 0.5 s"):
        rig.supervisor.wait_ready(["web"], 0.5)


SUPERVISOR_PROGRAM = """
import sys, time
from whago.main.console import Console
from whago.main.stopping import StopRequested, stop_requests
from whago.main.supervisor import Spec, Supervisor

supervisor = Supervisor(Console())
with stop_requests(supervisor.hurry):
    try:
        for name, code in zip(sys.argv[1::2], sys.argv[2::2]):
            supervisor.start(Spec(name, [sys.executable, "-c", code]))
        time.sleep(600)
    except StopRequested:
        print("stopping", flush=True)
    finally:
        supervisor.stop()
print("stopped", flush=True)
"""


class Program:
    """A supervisor in a process of its own."""

    def __init__(self, *children: str) -> None:
        argv = [sys.executable, "-c", SUPERVISOR_PROGRAM, *children]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.pids: list[int] = []
        for _ in range(len(children) // 2):
            self.pids.append(int(self.line().split("pid")[1]))

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def finish(self) -> str:
        return self.process.communicate(timeout=PATIENCE_S)[0]

    def ended_by(self, number: signal.Signals) -> bool:
        """Send it once more; whether there was nobody left to get it."""
        time.sleep(0.1)
        self.process.send_signal(number)
        return self.process.poll() is not None

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def telling(body: str) -> str:
    return f"import os, signal, time\n{textwrap.dedent(body)}\nprint('pid', os.getpid(), flush=True)\ntime.sleep(600)"


QUIET = telling("")
DEAF_PROGRAM = telling("signal.signal(15, signal.SIG_IGN)")


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    made = Program("first", QUIET, "second", getattr(request, "param", QUIET))
    yield made
    made.close()


with_a_deaf_child = pytest.mark.parametrize("program", [DEAF_PROGRAM], indirect=True, ids=["deaf"])


@with_a_deaf_child
def test_kill_9_of_the_supervisor_leaves_no_orphan(program: Program) -> None:
    assert all(alive(pid) for pid in program.pids)
    program.process.kill()
    until(lambda: not any(alive(pid) for pid in program.pids), "every child is gone")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_everything(program: Program, number: signal.Signals) -> None:
    program.process.send_signal(number)
    told = program.finish()
    assert told.endswith("stopped\n")
    assert program.process.returncode == 0
    assert not any(alive(pid) for pid in program.pids)


@with_a_deaf_child
def test_a_second_ctrl_c_does_not_wait_for_the_deaf(program: Program) -> None:
    program.process.send_signal(signal.SIGINT)
    assert program.line() == "stopping"
    until(lambda: program.ended_by(signal.SIGINT), "the program has ended")
    assert program.finish() == "stopped\n"
    assert not any(alive(pid) for pid in program.pids)
