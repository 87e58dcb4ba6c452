"""``whago gateway --processes N``, its signals, and what it reads again."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from tests.factories import make_plan, make_user
from tests.faults.far_end import SMALL_HOST, Talks
from tests.faults.stage import Stage
from tests.gateway.wire import http_connect, open_http, read_exactly, read_head
from tests.spine.conftest import month_of, wait_equal, wait_until
from whago.domain.models import Chip, GatewayBoot
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.main.embedded import free_port

PROCESSES = 3


@pytest.fixture
def stage(database: str, vault: Vault, tmp_path: Path) -> Iterator[Stage]:
    with Stage(database, vault, tmp_path) as built:
        yield built


def free_row(count: int) -> int:
    """The first of ``count`` ports in a row that are free now."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return first


def metrics(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def is_cut(sock: socket.socket) -> bool:
    try:
        sock.sendall(b"get 1\n")
        return not sock.recv(1)
    except OSError:
        return True


def boots() -> int:
    with transaction() as db:
        return db.scalar(select(func.count()).where(GatewayBoot.stopped_at.is_(None))) or 0


def test_processes_share_a_port_and_count_together(stage: Stage) -> None:
    status = free_row(PROCESSES)
    gateway = stage.command("--processes", str(PROCESSES), "--status-port", str(status))
    wait_until(lambda: boots() == PROCESSES, 40)
    gateway.wait_for_port()
    user = make_user(make_plan())
    chips = [Talks(gateway.port, *chip) for chip in stage.chips(user, 24)]
    for chip in chips:
        chip.start()
    for chip in chips:
        assert chip.moving.wait(20)
    wait_until(lambda: len(stage.counter_files) == PROCESSES)
    opened = [metrics(status + number)["whago_gateway_tunnels_opened_total"] for number in range(PROCESSES)]
    assert sum(opened) == len(chips)
    assert min(opened) > 0, "the kernel spreads connections over the processes"
    for chip in chips:
        chip.stop()
        assert chip.refused == 0
    wait_equal(lambda: month_of(user.id).total_bytes, lambda: stage.far_end.total)
    gateway.stop()
    assert boots() == 0
    assert stage.counter_files == []


def test_sigterm_drains_every_process(stage: Stage) -> None:
    gateway = stage.command("--processes", "2")
    wait_until(lambda: boots() == 2, 40)
    user = make_user(make_plan())
    ((chip_id, token),) = stage.chips(user, 1)
    with open_http(gateway.wait_for_port().port, str(chip_id), token, f"{SMALL_HOST}:443") as running:
        os.kill(gateway.pid, signal.SIGTERM)
        wait_until(lambda: refuses_connections(gateway.port))
        running.sendall(b"get 5000\n")
        assert len(read_exactly(running, 5000)) == 5000, "what runs goes on for a while"
        running.shutdown(socket.SHUT_WR)
        wait_until(lambda: not gateway.lives, 20)
    assert gateway.process.returncode == 0
    assert month_of(user.id).total_bytes == stage.far_end.total
    assert month_of(user.id).leased_bytes == 0
    assert stage.counter_files == []


def refuses_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("processes", [1, 2])
def test_sighup_reads_again_what_nobody_told(stage: Stage, processes: int) -> None:
    """A change made by hand in the database comes without a notice."""
    gateway = stage.command("--processes", str(processes))
    wait_until(lambda: boots() == processes, 40)
    user = make_user(make_plan())
    chips = stage.chips(user, 2)
    gateway.wait_for_port()
    tunnels = [
        [open_http(gateway.port, str(chip), token, f"{SMALL_HOST}:443") for _ in range(12)] for chip, token in chips
    ]
    with transaction() as db:
        db.execute(update(Chip).where(Chip.id == chips[0][0]).values(deleted_at=func.now()))
    with http_connect(gateway.port, str(chips[0][0]), chips[0][1], f"{SMALL_HOST}:443") as known:
        assert read_head(known).startswith("HTTP/1.1 200 "), "nobody has told the gateway yet"
    os.kill(gateway.pid, signal.SIGHUP)
    for tunnel in tunnels[0]:
        wait_until(lambda sock=tunnel: is_cut(sock))
    for tunnel in tunnels[1]:
        tunnel.sendall(b"get 10\n")
        assert read_exactly(tunnel, 10) == bytes(10), "the other chip keeps its tunnels"
    with http_connect(gateway.port, str(chips[0][0]), chips[0][1], f"{SMALL_HOST}:443") as late:
        assert read_head(late).startswith("HTTP/1.1 407 ")
    for tunnel in [*tunnels[0], *tunnels[1]]:
        tunnel.close()
    gateway.stop()


def test_a_notice_that_was_lost_is_made_up_for(stage: Stage) -> None:
    """The connection that listens is broken while the change is told: after it is back everything is asked again."""
    gateway = stage.gateway()
    user = make_user(make_plan())
    chips = stage.chips(user, 2)
    tunnels = [open_http(gateway.port, str(chip), token, f"{SMALL_HOST}:443") for chip, token in chips]
    with transaction() as db:
        listening = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
        assert db.scalars(listening).all() == [True]
        db.execute(update(Chip).where(Chip.id == chips[0][0]).values(deleted_at=func.now()))
    wait_until(lambda: is_cut(tunnels[0]))
    tunnels[1].sendall(b"get 10\n")
    assert read_exactly(tunnels[1], 10) == bytes(10)
    for tunnel in tunnels:
        tunnel.close()
