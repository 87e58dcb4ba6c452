"""What is measured of one gateway in one round. Every phase is limited in time and in count."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Self

from benchmarks.gateway.ends import FarEnd, NearEnd, Reply
from benchmarks.gateway.install import Unavailable
from benchmarks.gateway.processes import Running, cpu_of_s

GB: Final = 10**9
WARM_UP_TUNNELS: Final = 64  # code paths, first leases, lazy imports
WARM_UP_MS: Final = 4_000
ECHO_PARTS: Final = 5  # each longer than the half second between our reports, so that none leaves their cost out
IN_FLIGHT: Final = 32  # handshakes under way at a time: more than any gateway needs to be busy
MAX_SETUPS: Final = 12_000  # of 28,000 ephemeral ports, whose connections linger for a minute
MIN_MEMORY_TUNNELS: Final = 200  # below it the noise of an allocator is larger than a tunnel


@dataclass(frozen=True, slots=True)
class Effort:
    """How long each phase may take, in milliseconds, and how many idle tunnels there are to be."""

    echo_ms: int = 3_000
    idle_tunnels: int = 5_000
    open_ms: int = 6_000
    setup_ms: int = 2_000
    one_bulk_ms: int = 1_500
    bulk_ms: int = 2_500


QUICK: Final = Effort(echo_ms=200, idle_tunnels=1_000, open_ms=1_000, setup_ms=800, one_bulk_ms=300, bulk_ms=500)


@dataclass(slots=True)
class Round:
    """``figures`` by name (see ``report.COLUMNS``); ``notes``: what went wrong or limits a figure's meaning."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    number: int = 0


class Measurement:
    """One gateway (None: chips talk to the provider themselves) between its two ends.

    ``control_cpu_s``: the CPU clock of a control plane beside the gateway, if there is one.
    """

    def __init__(
        self,
        gateway: Running | None,
        near: NearEnd,
        far: FarEnd,
        control_cpu_s: Callable[[], float] | None = None,
    ) -> None:
        self._gateway = gateway
        self._near = near
        self._far = far
        self._control_cpu_s = control_cpu_s
        self.round = Round()

    def run(self, effort: Effort, number: int) -> Round:
        """Raises Unavailable when the gateway carries no tunnel at all."""
        self.round.number = number
        self.warm_up()
        self._echo("echo", effort.echo_ms)
        self._idle(effort)
        self._setups(effort)
        self._bulk("one_bulk", 1, effort.one_bulk_ms)
        self._bulk("bulk", 16, effort.bulk_ms)
        return self.round

    def warm_up(self) -> None:
        reply = self._near.setup(WARM_UP_TUNNELS, WARM_UP_MS, 4)
        if not reply.count:
            raise Unavailable(f"it carried no tunnel: {reply.problem or 'no answer'}")
        self._settle()

    def _echo(self, name: str, ms: int) -> None:
        """Each figure of its quietest part: for a second or two, a scheduler may put the processes on other cores."""
        replies = [self._near.echo(ms // ECHO_PARTS) for _ in range(ECHO_PARTS)]
        for reply in replies:
            self._note(name, reply)
        if all(reply.count for reply in replies):
            self.round.figures[f"{name}_p50_us"] = min(reply.p50_us for reply in replies)
            self.round.figures[f"{name}_p99_us"] = min(reply.p99_us for reply in replies)

    def _idle(self, effort: Effort) -> None:
        before = self._memory_kib()
        reply = self._near.open(effort.idle_tunnels, effort.open_ms, IN_FLIGHT)
        self._note("idle", reply)
        self._settle()
        if self._gateway is not None and reply.count >= min(MIN_MEMORY_TUNNELS, effort.idle_tunnels):
            self.round.figures["idle_kib"] = (self._memory_kib() - before) / reply.count
        self.round.figures["idle_tunnels"] = reply.count
        if reply.count < effort.idle_tunnels:
            self.round.notes.append(f"{reply.count:,} idle tunnels in the time instead of {effort.idle_tunnels:,}")
        self._echo("idle_echo", effort.echo_ms)
        self._near.drop()
        self._settle()

    def _setups(self, effort: Effort) -> None:
        with self._clocks() as clocks:
            reply = self._near.setup(MAX_SETUPS, effort.setup_ms, IN_FLIGHT)
            clocks.load_stops()
            self._settle()
        self._note("setup", reply)
        self._ends_figure("setup", clocks)
        if reply.count:
            self.round.figures["setups_per_s"] = reply.count / reply.seconds
            self._cpu_figure("setup_cpu_us", clocks.gateway_s / reply.count * 1e6)
            self._control_figure("setup_control_us", clocks.control_s / reply.count * 1e6)

    def _bulk(self, name: str, tunnels: int, ms: int) -> None:
        with self._clocks() as clocks:
            reply = self._near.bulk(tunnels, ms)
            clocks.load_stops()
        self._note(name, reply)
        self._ends_figure(name, clocks)
        if reply.bytes:
            self.round.figures[f"{name}_gb_per_s"] = reply.bytes / GB / reply.seconds
            self._cpu_figure(f"{name}_cpu_s_per_gb", clocks.gateway_s / reply.bytes * GB)
            self._control_figure(f"{name}_control_s_per_gb", clocks.control_s / reply.bytes * GB)
        self._settle()

    def _clocks(self) -> _Clocks:
        return _Clocks(self._gateway, self._control_cpu_s, (self._near.pid, self._far.pid))

    def _ends_figure(self, phase: str, clocks: _Clocks) -> None:
        """How busy the busier end was: near 1, the gateway was not what limited the phase."""
        self.round.figures[f"{phase}_end_busy"] = max(clocks.busy)

    def _cpu_figure(self, name: str, value: float) -> None:
        if self._gateway is not None:
            self.round.figures[name] = value

    def _control_figure(self, name: str, value: float) -> None:
        if self._control_cpu_s is not None:
            self.round.figures[name] = value

    def _note(self, phase: str, reply: Reply) -> None:
        if reply.problem:
            self.round.notes.append(f"{phase}: {reply.failed or 1} tunnels failed ({reply.problem})")

    def _memory_kib(self) -> int:
        return self._gateway.memory_kib() if self._gateway is not None else 0

    def _settle(self) -> None:
        if self._gateway is not None:
            self._gateway.wait_until_quiet()


class _Clocks:
    """CPU seconds of everybody while a phase runs."""

    def __init__(
        self, gateway: Running | None, control_cpu_s: Callable[[], float] | None, ends: tuple[int, int]
    ) -> None:
        self._gateway_clock = gateway.cpu_s if gateway is not None else _no_cpu
        self._control_clock = control_cpu_s or _no_cpu
        self._ends = ends
        self.gateway_s = self.control_s = 0.0
        self.busy = (0.0, 0.0)  # the near and the far end, as shares of one core

    def __enter__(self) -> Self:
        self._gateway_before = self._gateway_clock()
        self._control_before = self._control_clock()
        self._ends_before = [cpu_of_s(pid) for pid in self._ends]
        self._begun = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway_s = self._gateway_clock() - self._gateway_before
        self.control_s = self._control_clock() - self._control_before

    def load_stops(self) -> None:
        """What follows is only the gateway's tidying up."""
        elapsed = time.monotonic() - self._begun
        near, far = (cpu_of_s(pid) - before for pid, before in zip(self._ends, self._ends_before, strict=True))
        self.busy = (near / elapsed, far / elapsed)


def _no_cpu() -> float:
    return 0.0
