"""Real worker processes on a real broker and database: they beat, survive outages, and lose nothing when killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx
import psycopg
import pytest

from tests.conftest import SECRET
from whago.domain.queries.system import last_beat
from whago.kit import clock as wall
from whago.kit.db import driver_url
from whago.main.embedded import EmbeddedPostgres, EmbeddedValkey, free_port, private_data_dir
from whago.main.migrate import upgrade
from whago.tasks.app import make_app, tick
from whago.tasks.clock import Clock, Tools
from whago.tasks.metrics import ClockMetrics
from whago.tasks.upkeep import beat

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0
Found = TypeVar("Found")


def eventually(look: Callable[[], Found | None], what: str) -> Found:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"did not happen in {PATIENCE_S:.0f} s: {what}")


class Worker:
    """A worker process of the test's own."""

    def __init__(self, argv: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *argv], env={**os.environ, **environment}, cwd=ROOT, stdout=output, stderr=output
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def quick_worker(database_url: str, broker_url: str, folder: Path, port: int) -> Worker:
    argv = ["-m", "tests.tasks.worker_process", database_url, broker_url, str(port), str(folder / "mark")]
    return Worker(argv, {}, folder / "worker.log")


def runs(database_url: str, clock: str) -> list[tuple[object, object, str | None]]:
    """ended_at, counts and error of every run, oldest first."""
    with psycopg.connect(driver_url(database_url)) as connection:
        query = "SELECT ended_at, counts, error FROM clock_runs WHERE clock = %s ORDER BY id"
        return list(connection.execute(query, [clock]))


def good_runs(database_url: str, clock: str) -> int:
    return len([run for run in runs(database_url, clock) if run[0] is not None and run[2] is None])


def status(port: int, path: str) -> httpx.Response | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5)
    except httpx.TransportError:
        return None


def is_ready(port: int) -> bool:
    answer = status(port, "/readyz")
    return answer is not None and answer.status_code == 200


def test_the_product_s_worker_beats_and_shows_it(database: str, broker_url: str, tmp_path: Path) -> None:
    environment = {
        "WHAGO_DATABASE_URL": database,
        "WHAGO_BROKER_URL": broker_url,
        "WHAGO_SECRET_KEY": SECRET,
        "WHAGO_DATA_DIR": str(tmp_path),
        "WHAGO_LOG_FORMAT": "json",
    }
    with Worker(["-P", "-m", "whago", "worker"], environment, tmp_path / "worker.log") as worker:
        for clock in ("heartbeat", "usage_monitor", "usage_audit", "partitions", "exit_ips"):
            eventually(lambda clock=clock: good_runs(database, clock), clock)  # type: ignore[misc]
        beaten = last_beat()
        assert beaten is not None
        assert beaten <= wall.now()
        told = re.search(r'\{[^\n]*"worker.status"[^\n]*\}', worker.log.read_text())
        assert told is not None
        port = json.loads(told[0])["port"]
        assert is_ready(port)
        healthz, metrics, other = (status(port, path) for path in ("/healthz", "/metrics", "/nowhere"))
        assert healthz is not None
        assert healthz.json() == {"status": "ok"}
        assert metrics is not None
        assert 'whago_clock_ticks_total{clock="heartbeat",outcome="done"}' in metrics.text
        assert other is not None
        assert other.status_code == 404
        assert worker.stop() == 0
    text = worker.log.read_text()
    assert "Traceback" not in text
    assert SECRET not in text


@pytest.mark.parametrize("missing", ["WHAGO_DATABASE_URL", "WHAGO_BROKER_URL"])
def test_it_names_the_setting_that_is_missing(missing: str, tmp_path: Path) -> None:
    environment = {"WHAGO_DATABASE_URL": "postgresql://x/y", "WHAGO_BROKER_URL": "redis://x", missing: ""}
    with Worker(["-P", "-m", "whago", "worker"], environment, tmp_path / "worker.log") as worker:
        assert worker.process.wait(60) == 2
    assert missing in worker.log.read_text()


def test_a_tick_whose_worker_was_killed_runs_again(database: str, broker_url: str, tmp_path: Path) -> None:
    first = quick_worker(database, broker_url, tmp_path, free_port())
    tools = Tools(None, None)  # type: ignore[arg-type]
    sender = make_app(broker_url, (), tools, ClockMetrics())
    with first:
        eventually(lambda: good_runs(database, "heartbeat"), "the first beat")
        tick(sender, Clock("slow", every_s=3600, work=beat))
        eventually(lambda: runs(database, "slow"), "the slow run's begin")
        first.stop(signal.SIGKILL)
    assert [run[0] for run in runs(database, "slow")] == [None]
    with quick_worker(database, broker_url, tmp_path, free_port()) as second:
        eventually(lambda: good_runs(database, "slow"), "the second delivery")
        (lost, again) = runs(database, "slow")
        assert lost[0] is not None
        assert lost[2] == "the worker ended before the run did"
        assert again[1] == {"finished": 1}
        assert second.stop() == 0


def test_it_stops_though_a_run_is_in_the_middle(database: str, broker_url: str, tmp_path: Path) -> None:
    with quick_worker(database, broker_url, tmp_path, free_port()) as worker:
        eventually(lambda: good_runs(database, "heartbeat"), "the first beat")
        tick(make_app(broker_url, (), Tools(None, None), ClockMetrics()), Clock("slow", every_s=3600, work=beat))  # type: ignore[arg-type]
        eventually(lambda: runs(database, "slow"), "the slow run's begin")
        assert worker.stop() == 0
    assert [(run[0] is None, run[2]) for run in runs(database, "slow")] == [(False, None)]


def test_two_workers_do_not_beat_twice_as_often(database: str, broker_url: str, tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    with quick_worker(database, broker_url, tmp_path, ports[0]), quick_worker(database, broker_url, tmp_path, ports[1]):
        eventually(lambda: all(is_ready(port) for port in ports), "both are ready")
        eventually(lambda: good_runs(database, "heartbeat") >= 6, "some beats")
        with psycopg.connect(driver_url(database)) as connection:
            gaps = connection.execute(
                "SELECT extract(epoch FROM started_at - lag(started_at) OVER (ORDER BY id)) FROM clock_runs"
                " WHERE clock = 'heartbeat' OFFSET 1"
            ).fetchall()
    assert all(gap >= 0.8 for (gap,) in gaps)


@pytest.fixture
def own_database() -> Iterator[EmbeddedPostgres]:
    """A server that the test may stop."""
    server = EmbeddedPostgres(private_data_dir(), free_port(), durable=False)
    with server:
        upgrade(server.url)
        yield server


@pytest.fixture
def own_broker() -> Iterator[EmbeddedValkey]:
    """A server that the test may stop."""
    with EmbeddedValkey(private_data_dir(), free_port()) as server:
        yield server


def test_it_outlives_its_database(own_database: EmbeddedPostgres, broker_url: str, tmp_path: Path) -> None:
    port = free_port()
    with quick_worker(own_database.url, broker_url, tmp_path, port) as worker:
        eventually(lambda: good_runs(own_database.url, "heartbeat"), "the first beat")
        own_database.stop()
        eventually(lambda: ticks(port, "no_database") >= 2, "ticks without a database")
        own_database.start()
        before = good_runs(own_database.url, "heartbeat")
        eventually(lambda: good_runs(own_database.url, "heartbeat") >= before + 2, "beats again")
        assert worker.process.poll() is None
        assert worker.stop() == 0


def test_it_outlives_its_broker(database: str, own_broker: EmbeddedValkey, tmp_path: Path) -> None:
    port = free_port()
    with quick_worker(database, own_broker.url, tmp_path, port) as worker:
        eventually(lambda: good_runs(database, "heartbeat"), "the first beat")
        own_broker.stop()
        eventually(lambda: "Cannot connect" in worker.log.read_text(), "the loss is noticed")
        own_broker.start()
        before = good_runs(database, "heartbeat")
        eventually(lambda: good_runs(database, "heartbeat") >= before + 2, "beats again")
        assert worker.process.poll() is None
        assert worker.stop() == 0


def ticks(port: int, outcome: str) -> float:
    answer = status(port, "/metrics")
    found = re.search(rf'ticks_total{{clock="heartbeat",outcome="{outcome}"}} (\S+)', answer.text if answer else "")
    return float(found[1]) if found else 0
