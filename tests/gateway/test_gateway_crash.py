"""kill -9 of a real gateway process: what was moved is billed, and nothing that was not."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from tests.gateway.control_double import Bank, Control
from tests.gateway.gateway_process import chip_ids, row_of
from tests.gateway.wire import Server, UpstreamProxy, eventually, open_http, read_exactly, read_to_end
from whago.gateway.config import READ_BYTES
from whago.gateway.pipes import PIPE_BYTES
from whago.gateway.settle import settle_dead

TUNNELS = 4


@contextmanager
def gateway_process(
    folder: Path, upstream: UpstreamProxy, splice: bool, *ports: int, wrapper: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "tests.gateway.gateway_process", str(folder), str(upstream.port), str(TUNNELS)]
    process = subprocess.Popen(
        [*wrapper, *command, str(splice), *map(str, ports)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = ""
        while not port.strip().isdigit():
            port = process.stdout.readline()
            assert port, "the gateway did not start"
        yield process, int(port)
    finally:
        process.kill()
        process.wait(10)


def pour(sock: socket.socket) -> None:
    block = b"z" * 65536
    while True:
        sock.sendall(block)


def drink(sock: socket.socket) -> None:
    while sock.recv(1 << 16):
        pass


class Pull(threading.Thread):
    """Counts what arrives at the client."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.moved = 0

    def run(self) -> None:
        try:
            while count := len(self.sock.recv(1 << 16)):
                self.moved += count
        except OSError:
            return


class Push(threading.Thread):
    """Sends until the gateway is gone."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(daemon=True)
        self.sock = sock

    def run(self) -> None:
        try:
            while True:
                self.sock.sendall(b"u" * 65536)
        except OSError:
            return


def billed_after_settling(folder: Path) -> tuple[int, int, int]:
    """Up, down and overhead: what was committed before the kill, and the counter file settled over it."""
    bank = Bank()
    control = Control(bank)
    assert asyncio.run(settle_dead(folder, control)) == 1
    rows: dict[tuple[object, ...], dict[str, int]] = {}
    committed = [json.loads(line) for line in (folder / "committed.jsonl").read_text().splitlines()]
    for row in [*committed, *map(row_of, bank.rows.values())]:
        old = rows.setdefault((row["tunnel"], row["hour"]), {"up": 0, "down": 0, "overhead": 0})
        for name in old:
            old[name] = max(old[name], row[name])
    return tuple(sum(row[name] for row in rows.values()) for name in ("up", "down", "overhead"))  # type: ignore[return-value]


@pytest.mark.parametrize("splice", [True, False], ids=["splice", "plain"])
@pytest.mark.parametrize("moment", range(3))
def test_a_killed_gateway_has_billed_at_most_one_chunk_more_than_it_moved(
    tmp_path: Path, splice: bool, moment: int
) -> None:
    """Each tunnel moves one way only, so that no unread byte makes the kernel throw away what was sent."""
    wait_s = random.Random(moment).uniform(0.2, 0.7)
    with (
        Server(pour) as source,
        Server(drink) as sink,
        UpstreamProxy("http") as upstream,
        gateway_process(tmp_path, upstream, splice, source.port, sink.port) as (process, port),
    ):
        chips = [str(chip) for chip in chip_ids(TUNNELS)]
        pulls = [Pull(open_http(port, chip, "token", f"localhost:{source.port}")) for chip in chips[:2]]
        pushes = [Push(open_http(port, chip, "token", f"localhost:{sink.port}")) for chip in chips[2:]]
        for thread in [*pulls, *pushes]:
            thread.start()
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        for thread in [*pulls, *pushes]:
            thread.join(10)
        up_wires = [wire for wire in upstream.wires if wire.received > 1_000_000]
        assert eventually(lambda: _quiet(up_wires))
        exchange = sum(wire.exchange for wire in upstream.wires)
        arrived_up = sum(wire.received for wire in upstream.wires) - _requests(upstream)
        up, down, overhead = billed_after_settling(tmp_path)
    chunk = PIPE_BYTES if splice else READ_BYTES
    delivered_down = sum(pull.moved for pull in pulls)
    assert arrived_up > 0
    assert delivered_down > 0
    assert overhead == exchange
    assert 0 <= up - arrived_up <= chunk * len(pushes), f"up: billed {up}, on the wire {arrived_up}"
    assert 0 <= down - delivered_down <= chunk * len(pulls), f"down: billed {down}, delivered {delivered_down}"


def _requests(upstream: UpstreamProxy) -> int:
    """The CONNECT heads among what the upstream received."""
    answer = len(b"HTTP/1.1 200 OK\r\nX-Proxy: test\r\n\r\n")
    return sum(wire.exchange - answer for wire in upstream.wires)


def _quiet(wires: list) -> bool:  # type: ignore[type-arg]
    before = [wire.received for wire in wires]
    time.sleep(0.1)
    return before == [wire.received for wire in wires]


def test_a_gateway_killed_between_two_reports_loses_nothing(tmp_path: Path) -> None:
    with (
        Server(lambda sock: sock.sendall(sock.recv(100) * 100) or read_to_end(sock)) as origin,
        UpstreamProxy("http") as upstream,
        gateway_process(tmp_path, upstream, True, origin.port) as (process, port),
    ):
        with open_http(port, str(chip_ids(1)[0]), "token", f"localhost:{origin.port}") as client:
            client.sendall(b"w" * 100)
            assert len(read_exactly(client, 10_000)) == 10_000
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        up, down, overhead = billed_after_settling(tmp_path)
        assert (up, down) == (100, 10_000)
        assert up + down + overhead == upstream.total


def test_sigterm_drains_and_settles_within_seconds(tmp_path: Path) -> None:
    with (
        Server(drink) as origin,
        UpstreamProxy("http") as upstream,
        gateway_process(tmp_path, upstream, True, origin.port) as (process, port),
    ):
        with open_http(port, str(chip_ids(1)[0]), "token", f"localhost:{origin.port}") as client:
            client.sendall(b"w" * 100)
            process.send_signal(signal.SIGTERM)
            assert read_to_end(client) == b""
        assert process.wait(10) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["committed.jsonl"]


def test_a_living_boots_file_is_left_alone(tmp_path: Path) -> None:
    with (
        Server(drink) as origin,
        UpstreamProxy("http") as upstream,
        gateway_process(tmp_path, upstream, True, origin.port),
    ):
        control = Control(Bank())
        assert asyncio.run(settle_dead(tmp_path, control)) == 0
        assert control.calls["settle"] == 0


def test_a_foreign_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / f"{uuid4()}.counters").write_bytes(b"not ours" * 1000)
    assert asyncio.run(settle_dead(tmp_path, Control(Bank()))) == 0
    assert [path.suffixes for path in tmp_path.iterdir()] == [[".counters", ".rejected"]]
