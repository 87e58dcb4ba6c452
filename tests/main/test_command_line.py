"""The launcher and the command line: what a person can mend is a sentence, never a trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from whago.main.embedded import free_port
from whago.main.test_runner import ROOT

TIMEOUT_S = 120


def whago(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", "whago", *arguments],
        env={**plain, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith("whago: ")
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr


def free_ports() -> list[str]:
    return ["--port", str(free_port()), "--gateway-port", str(free_port())]


def test_an_unknown_setting_stops_the_start_by_name(tmp_path: Path) -> None:
    refused(whago("up", "--data", str(tmp_path), env={"WHAGO_DATABASE_ULR": "x"}), "WHAGO_DATABASE_ULR")


def test_a_bad_setting_stops_the_start_by_name(tmp_path: Path) -> None:
    refused(whago("up", "--data", str(tmp_path), env={"WHAGO_BILLING_TZ": "Mars/Olympus"}), "WHAGO_BILLING_TZ")


@pytest.mark.parametrize("option", ["--port", "--gateway-port"])
def test_a_busy_port_is_named_with_the_option_that_changes_it(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as soon_free:
        busy, other = str(taken.getsockname()[1]), str(soon_free.getsockname()[1])
        soon_free.close()
        ports = {"--port": other, "--gateway-port": other, option: busy}
        done = whago("up", "--data", str(tmp_path / "data"), *(word for pair in ports.items() for word in pair))
    refused(done, busy, option)
    assert not (tmp_path / "data").exists()


def test_the_same_port_twice_is_refused(tmp_path: Path) -> None:
    port = str(free_port())
    refused(whago("up", "--data", str(tmp_path), "--port", port, "--gateway-port", port), "asked for twice")


def test_a_database_that_does_not_answer_is_named(tmp_path: Path) -> None:
    nobody = {"WHAGO_DATABASE_URL": "postgresql://whago:secret@127.0.0.1:1/whago"}
    done = whago("up", "--data", str(tmp_path / "data"), *free_ports(), env=nobody)
    refused(done, "WHAGO_DATABASE_URL: the database does not answer", "Connection refused")
    assert "secret" not in done.stderr + done.stdout


def test_a_bridge_without_its_secret_is_refused() -> None:
    refused(whago("bridge"), "WHAGO_BRIDGE_SECRET is not set")


def test_a_bad_argument_of_the_simulator_is_refused() -> None:
    refused(whago("simulate-provider", "--target", "nonsense"), "The simulated provider cannot run", "nonsense")


def test_every_command_is_listed() -> None:
    listed = whago("--help").stdout
    servers = ["web", "gateway", "worker", "bridge", "simulate-provider"]
    commands = ["up", "test", "migrate", "create-admin", "doctor", *servers]
    assert [name for name in commands if f"\n  {name} " not in listed] == []


def test_doctor_names_a_busy_port_and_the_option_that_changes_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = whago("doctor", "--port", port, "--data", "/var/lib/whago", env={"COLUMNS": "200"})
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if f"Port {port}" in line)
    assert "in use" in line
    assert "--port" in line


def test_doctor_names_a_data_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = whago("doctor", "--data", str(tmp_path / "file" / "data"), env={"COLUMNS": "200"})
    assert done.returncode == 1
    assert "--data DIR" in next(line for line in done.stdout.splitlines() if line.startswith("Data folder"))


def test_the_launcher_works_from_anywhere_and_through_links(tmp_path: Path) -> None:
    (tmp_path / "first").symlink_to(ROOT / "whago")
    (tmp_path / "second").symlink_to("first")
    done = subprocess.run(
        [tmp_path / "second", "--help"], cwd="/", capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: whago")
