"""``whago up`` as a whole: from nothing to ready, again on the same data, and gone without a trace of itself."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from whago.main.embedded import free_port, private_data_dir

PATIENCE_S = 150.0  # a first start on a busy machine, the bridge's modules included

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Product:
    """One ``whago up`` in a process of its own."""

    def __init__(self, folder: Path, web: int, gateway: int) -> None:
        ports = ["--port", str(web), "--gateway-port", str(gateway)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}
        self.folder = folder
        self.url = f"http://127.0.0.1:{web}"
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "whago", "up", "--data", str(folder), *ports],
            env=plain,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ready_line(self) -> str:
        self.until(lambda: any("is ready:" in line for line in self.lines), "the ready line")
        return next(line for line in self.lines if "is ready:" in line)

    def children(self) -> dict[str, int]:
        """Name in the process list → pid, of what this ``up`` runs."""
        told = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        found = (re.match(r" *(\d+) .*?(whago \w+|bin/postgres|valkey-server)", line) for line in told.splitlines())
        return {match[2].rpartition("/")[2]: int(match[1]) for match in found if match}

    def left(self) -> list[str]:
        """Command lines of every process that still has to do with our folder."""
        mine = os.fsencode(self.folder)
        return [name for name, command, cwd in processes() if mine in command or cwd.startswith(mine)]

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            told = "\n".join(self.lines[-40:])
            assert self.process.poll() is None or "gone" in what, f"up ended before {what}:\n{told}"
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{told}"
            time.sleep(0.05)

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


def processes() -> Iterator[tuple[str, bytes, bytes]]:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            yield f"{entry.name} {command.decode(errors='replace')}", command, os.fsencode((entry / "cwd").readlink())
        except OSError:  # it ended meanwhile
            continue


@pytest.fixture
def up() -> Iterator[Callable[[], Product]]:
    """Starts ``up`` on the same folder and ports each time."""
    folder = private_data_dir()
    web, gateway = free_port(), free_port()
    made: list[Product] = []

    def start() -> Product:
        made.append(Product(folder, web, gateway))
        return made[-1]

    yield start
    for product in made:
        if product.process.poll() is None:
            product.stop(signal.SIGTERM)
    shutil.rmtree(folder)


def password_in(line: str) -> str:
    found = re.search(r"admin (\S+)  password (\S+)", line)
    assert found, line
    return found[2]


def test_it_starts_from_nothing_keeps_everything_and_leaves_nothing_running(up: Callable[[], Product]) -> None:
    first = up()
    line = first.ready_line()
    assert first.url in line
    assert httpx.get(f"{first.url}/readyz").status_code == 200
    names = {"whago web", "whago gateway", "whago worker", "whago bridge", "postgres", "valkey-server"}
    assert set(first.children()) == names
    pids = first.children().values()
    assert first.stop(signal.SIGTERM) == 0
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []
    assert first.left() == []

    second = up()
    assert password_in(second.ready_line()) == password_in(line)
    secret = (second.folder / "secret-key").read_text()
    assert second.stop(signal.SIGINT) == 0
    assert (second.folder / "secret-key").read_text() == secret


def test_kill_9_of_everything_it_runs_is_mended(up: Callable[[], Product]) -> None:
    product = up()
    product.ready_line()
    for name, pid in product.children().items():
        os.kill(pid, signal.SIGKILL)
        product.until(lambda name=name, pid=pid: product.children().get(name, pid) != pid, f"{name} runs again")
        product.until(lambda: answers(f"{product.url}/readyz"), f"ready after {name} was killed")


def test_kill_9_of_the_supervisor_leaves_no_orphan_and_no_damage(up: Callable[[], Product]) -> None:
    product = up()
    password = password_in(product.ready_line())
    product.process.kill()
    product.until(lambda: product.left() == [], "everything gone")
    again = up()
    assert password_in(again.ready_line()) == password


def test_a_second_up_on_the_same_folder_is_refused(up: Callable[[], Product]) -> None:
    product = up()
    product.ready_line()
    ports = ["--port", str(free_port()), "--gateway-port", str(free_port())]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "whago", "up", "--data", str(product.folder), *ports],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2
    assert f"Another whago already runs on {product.folder} (process {product.process.pid})" in done.stderr


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
