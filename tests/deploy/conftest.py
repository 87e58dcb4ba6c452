"""Every container of compose.yaml as a plain process, once for all tests of this folder."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import empty_database
from tests.deploy.composition import OURS, ROOT, Machine, composition
from whago.main.embedded import free_port, private_data_dir
from whago.main.file_checkers import Checker, find_checker

PATIENCE_S: Final = 300.0  # for six processes to serve on a busy machine
CONTAINER_PORTS: Final = ("8000", "3128", "9128", "9148", "9149", "3130")


def program_of(checker: Checker) -> Path:
    """The checker's program. Skips the test where it could not be had."""
    found = find_checker(checker)
    if found is None:
        pytest.skip(checker.advice)
    return found


@dataclass
class Running:
    """What runs, by service; ``codes`` of those that have ended in order."""

    services: dict[str, Any]
    machine: Machine
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def wait_until_healthy(self, name: str) -> None:
        """By the container's own check. Fails with the log when the process ends or takes too long."""
        deadline = time.monotonic() + PATIENCE_S
        probe = self.machine.probe(self.services[name])
        while subprocess.run(probe, check=False).returncode != 0:
            assert self.processes[name].poll() is None, self.machine.log(name)
            assert time.monotonic() < deadline, self.machine.log(name)
            time.sleep(0.2)


@pytest.fixture(scope="package")
def running(_engine: None, postgres_url: str, broker_url: str) -> Iterator[Running]:
    """``migrate`` ran, everything else serves, on a database in which nothing is sealed with another key."""
    empty_database(postgres_url)
    folder = private_data_dir()
    services = composition()["services"]
    machine = Machine(
        _secrets(folder, postgres_url, broker_url), folder, {each: free_port() for each in CONTAINER_PORTS}
    )
    here = Running(services, machine)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        migrate = machine.start("migrate", services["migrate"])
        stack.callback(_end, migrate)
        assert migrate.wait(PATIENCE_S) == 0, machine.log("migrate")
        for name in OURS[1:]:
            here.processes[name] = machine.start(name, services[name])
            stack.callback(_end, here.processes[name])
        for name in OURS[1:]:
            here.wait_until_healthy(name)
        yield here


def _secrets(folder: Path, postgres_url: str, broker_url: str) -> Path:
    """What ``deploy/make-secrets.sh`` makes, but for the addresses of the servers."""
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "database_url").write_text(postgres_url.replace("+psycopg", "") + "\n")
    (secrets / "broker_url").write_text(broker_url + "\n")
    subprocess.run([ROOT / "deploy" / "make-secrets.sh", secrets], check=True, stdout=subprocess.DEVNULL)
    return secrets


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
