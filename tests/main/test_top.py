"""``whago gateway --top`` as an operator starts it, beside real gateways."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories import make_plan, make_user
from tests.faults.far_end import Talks
from tests.faults.stage import Stage
from tests.spine.conftest import wait_until
from tests.spine.test_many_processes import boots, free_row
from whago.kit.crypto import Vault
from whago.main.embedded import free_port
from whago.main.top import View, add
from whago.main.top_screen import added, rate

TOP = [sys.executable, "-P", "-m", "whago", "gateway", "--top"]


@pytest.fixture
def stage(database: str, vault: Vault, tmp_path: Path) -> Iterator[Stage]:
    with Stage(database, vault, tmp_path) as built:
        yield built


def without_settings(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")} | more


def run(argv: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, env=without_settings(**settings), capture_output=True, text=True, timeout=60)


def test_it_shows_two_processes_their_chips_and_who_they_belong_to(stage: Stage, database: str) -> None:
    status = free_row(2)
    gateway = stage.command("--processes", "2", "--status-port", str(status))
    wait_until(lambda: boots() == 2, 60)
    gateway.wait_for_port()
    busy, quiet = make_user(make_plan()), make_user(make_plan())
    chips = [Talks(gateway.port, *chip, size=50_000) for chip in stage.chips(busy, 3)]
    chips += [Talks(gateway.port, *chip, size=50) for chip in stage.chips(quiet, 1)]
    for chip in chips:
        chip.start()
        assert chip.moving.wait(20)
    asked = [*TOP, "--once", "--status-port", str(status)]
    named = run(asked, WHAGO_DATABASE_URL=database)
    assert named.returncode == 0, named.stderr
    assert "4 tunnels in 2 processes" in named.stdout
    assert named.stdout.index(busy.email) < named.stdout.index(quiet.email), "the busiest first"
    assert "kB/s" in named.stdout or "MB/s" in named.stdout
    assert f"{gateway.port} (status {status + 1})" in named.stdout
    unnamed = run(asked)
    assert unnamed.returncode == 0, unnamed.stderr
    assert str(busy.id)[:8] in unnamed.stdout
    assert busy.email not in unnamed.stdout
    for chip in chips:
        chip.stop()


def test_it_goes_on_until_it_is_interrupted(stage: Stage) -> None:
    status = free_port()
    gateway = stage.command("--status-port", str(status))
    gateway.wait_for_port()
    near, far = pty.openpty()
    view = subprocess.Popen(
        [*TOP, "--status-port", str(status)], env=without_settings(TERM="xterm"), stdin=far, stdout=far, stderr=far
    )
    os.close(far)
    shown = b""
    try:
        while shown.count(b"in 1 process ") < 2:
            shown += os.read(near, 65536)
        view.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(near, 65536)
            except OSError:
                break
        assert view.wait(20) == 0
    finally:
        view.kill()
        os.close(near)
    assert b"Traceback" not in shown


def test_without_a_gateway_it_says_so() -> None:
    port = free_port()
    refused = run([*TOP, "--once", "--status-port", str(port)])
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"whago: No gateway answers on 127.0.0.1:{port}")


def answer(chip_rate: float, refused: int) -> dict[str, object]:
    return {
        "bytes": {"up": 10, "down": 20, "overhead": 5},
        "opened": 3,
        "lease_waits": 1,
        "refusals": {"bad_credential": refused},
        "users": [{"id": "u", "rate": chip_rate}],
        "proxies": [{"id": "p", "rate": chip_rate}],
        "chips": [{"id": "c", "user": "u", "proxy": "p", "rate": chip_rate, "tunnels": 2}],
    }


def test_processes_are_added_up() -> None:
    view = View(0.0)
    for one in (answer(100.0, 1), answer(50.5, 4)):
        add(view, one)
    assert view.chips == {"c": {"id": "c", "user": "u", "proxy": "p", "rate": 150.5, "tunnels": 4}}
    assert (view.users["u"], view.proxies["p"]) == (150.5, 150.5)
    assert view.refusals["bad_credential"] == 5
    assert view.totals == {"up": 20, "down": 40, "overhead": 10, "opened": 6, "lease_waits": 2}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0, "0 B/s"), (999, "999 B/s"), (1000, "1.0 kB/s"), (2_540_000, "2.5 MB/s"), (7.5e12, "7500.0 GB/s")],
)
def test_rates_are_decimal(value: float, wanted: str) -> None:
    assert rate(value) == wanted


def test_a_process_that_started_anew_has_no_negative_rate() -> None:
    old, new = View(0.0), View(1.0)
    old.totals["up"], new.totals["up"] = 1000, 10
    assert added(old.totals, new.totals, "up", 1.0) == 0
