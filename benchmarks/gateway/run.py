"""One whole run: install everybody, measure everybody in turn and in rounds, then stall everybody side by side."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.gateway.build import Wire
from benchmarks.gateway.ends import EndFailed, FarEnd, NearEnd
from benchmarks.gateway.install import Cache, Tool, Unavailable
from benchmarks.gateway.peer import Client, Peer, Place
from benchmarks.gateway.phases import Effort, Measurement, Round
from benchmarks.gateway.processes import Running
from benchmarks.gateway.product import ProductDatabase
from whago.main.embedded import free_port, private_data_dir

STALLED_TUNNELS: Final = 8
STALLED_BYTES: Final = 32 * 1024 * 1024  # what the origin has for each: a peer that takes it all in grows by 256 MiB

Say = Callable[[str], None]


@dataclass(slots=True)
class Entry:
    """One peer's part of the results. ``absent``: why it could not be installed, started or used."""

    peer: Peer
    version: str = ""
    absent: str = ""
    rounds: list[Round] = field(default_factory=list)
    stalled_kib: float | None = None


@dataclass(slots=True)
class Bench:
    """What every measurement of a run shares."""

    wire: Wire
    clients: Sequence[Client]
    product: ProductDatabase | None
    say: Say
    tools: dict[str, Tool] = field(default_factory=dict)

    def clients_of(self, peer: Peer) -> Sequence[Client]:
        return self.product.clients if peer.key == "ours" and self.product is not None else self.clients

    @contextmanager
    def standing(self, peer: Peer) -> Iterator[tuple[Running | None, NearEnd, FarEnd]]:
        """The peer between fresh ends, on ports that no earlier measurement has used."""
        folder = private_data_dir()
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            far = stack.enter_context(FarEnd(self.wire))
            if peer.key == "ours" and self.product is not None:
                self.product.point_at(far.auth)
            clients = self.clients_of(peer)
            place = Place(folder, free_port(), far, clients, self.product)
            command = peer.start(place, self.tools[peer.key])
            credentials = Path(place.write("credentials", peer.credentials(clients)))
            running = None
            if command.argv:
                running = stack.enter_context(Running(command.argv, command.env, folder, place.port))
            port = place.port if running is not None else far.auth
            near = stack.enter_context(NearEnd(self.wire, peer.mode, port, peer.target(far), credentials))
            yield running, near, far


def install_all(bench: Bench, cache: Cache, peers: Sequence[Peer]) -> list[Entry]:
    entries = []
    for peer in peers:
        entry = Entry(peer)
        try:
            tool = peer.install(cache)
            bench.tools[peer.key], entry.version = tool, tool.version
        except Unavailable as why:
            entry.absent = str(why)
        bench.say(f"  {peer.key:<16} {entry.absent or entry.version or 'nothing to install'}")
        entries.append(entry)
    return entries


def measure_rounds(bench: Bench, entries: Sequence[Entry], effort: Effort, rounds: int) -> None:
    """A B C, A B C, …: what drifts on the machine drifts for everybody."""
    for number in range(rounds):
        for entry in entries:
            if not entry.absent:
                begun = time.monotonic()
                _measure(bench, entry, effort, number)
                told = entry.absent or _line(entry.rounds[-1])
                bench.say(f"  round {number + 1}  {entry.peer.key:<16} {time.monotonic() - begun:5.1f} s  {told}")


def stall_everybody(bench: Bench, entries: Sequence[Entry], seconds: float) -> None:
    """All at once, because a client that does not read costs nobody any CPU."""
    with ExitStack() as stack:
        stalled = []
        for entry in entries:
            if entry.absent or entry.peer.key == "none":
                continue
            try:
                running, near, far = stack.enter_context(bench.standing(entry.peer))
                assert running is not None
                Measurement(running, near, far).warm_up()
                before = running.memory_kib()
                reply = near.stall(STALLED_TUNNELS, STALLED_BYTES)
            except (Unavailable, EndFailed) as why:
                entry.rounds[-1].notes.append(f"stall: {why}")
                continue
            if reply.count:
                stalled.append((entry, running, before, reply.count))
        time.sleep(seconds)
        for entry, running, before, count in stalled:
            entry.stalled_kib = max(0, running.memory_kib() - before) / count  # an allocator may give back meanwhile


def _measure(bench: Bench, entry: Entry, effort: Effort, number: int) -> None:
    """A peer that fails in its first round is absent; later, the round is noted and left out."""
    product = bench.product if entry.peer.key == "ours" else None
    try:
        with bench.standing(entry.peer) as (running, near, far):
            measurement = Measurement(running, near, far, product.cpu_s if product is not None else None)
            entry.rounds.append(measurement.run(effort, number))
    except (Unavailable, EndFailed) as why:
        if entry.rounds:
            entry.rounds[-1].notes.append(f"a later round failed: {why}")
        else:
            entry.absent = str(why)


def _line(round_: Round) -> str:
    figures = round_.figures
    wanted = {
        "setups_per_s": "{:,.0f} tunnels/s",
        "bulk_gb_per_s": "{:.2f} GB/s",
        "bulk_cpu_s_per_gb": "{:.2f} CPU s/GB",
    }
    told = [text.format(figures[name]) for name, text in wanted.items() if name in figures]
    return ", ".join([*told, *round_.notes])
