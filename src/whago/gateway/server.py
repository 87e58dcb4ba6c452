"""One gateway process: listen, serve, drain, stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

from whago.gateway.calendar import BillingCalendar
from whago.gateway.changes import ChangeFollower
from whago.gateway.config import FINAL_REPORT_S, LINGER_S, MAX_PENDING_HANDSHAKES, GatewayConfig
from whago.gateway.connection import Connection, Desk
from whago.gateway.control import Change, Control, ControlUnavailable
from whago.gateway.counters import CounterFile
from whago.gateway.engine import Engine
from whago.gateway.lender import Lender
from whago.gateway.listener import Listener
from whago.gateway.metrics import registry_of
from whago.gateway.passes import PassBook
from whago.gateway.pipes import PipePool
from whago.gateway.plane import Plane
from whago.gateway.poller import running_loop
from whago.gateway.registry import ChipRegistry
from whago.gateway.reporter import Reporter
from whago.gateway.resolver import Resolver
from whago.gateway.segments import SegmentBook
from whago.gateway.settle import settle_dead
from whago.gateway.status import StatusListener
from whago.gateway.watch import Watch, snapshot
from whago.kit.collector import spare_the_collector

log = structlog.get_logger()

SETTLE_EVERY_S: Final = 10.0  # a sibling's counters wait no longer than this after its death
READY_REPORT_AGE_S: Final = 15.0  # three heartbeats
WANTED_DESCRIPTORS: Final = 65536  # 10,000 tunnels need 20,000, the rest is for bursts
SPARE_DESCRIPTORS: Final = 512  # pipes, control plane, counters, listeners, and clients that are only told why not
SPARE_SHARE: Final = 4  # where descriptors are few, a quarter of them is spared
DRAIN_POLL_S: Final = 0.1
NEVER_S: Final = 1e9  # the age of a report that was never made: JSON knows no infinity
GC_THRESHOLDS: Final = (50_000, 20, 100)  # tunnels make no cycles, so the collector has little to find


async def serve(config: GatewayConfig, control: Control) -> None:
    """Run one gateway until SIGTERM or SIGINT, then drain and settle.

    Raises OSError when the port or the counters folder cannot be had, and whatever a bug in a part raises: then the
    counter file stays, and the next boot settles it.
    """
    gateway = Gateway(config, control)
    await gateway.start()
    try:
        await gateway.run()
    finally:
        await gateway.stop()


class Gateway:
    """``address`` and ``status_port`` are known after ``start``."""

    def __init__(self, config: GatewayConfig, control: Control) -> None:
        self._config = config
        self._control = control
        self._loop = running_loop()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._report_task: asyncio.Task[None] | None = None
        room, answered = _connections_for(_raise_descriptor_limit())
        self._max_tunnels = config.limits.max_tunnels or room
        self._max_connections = room + answered
        self._build()

    def _build(self) -> None:
        config, control = self._config, self._control
        config.counters_dir.mkdir(parents=True, exist_ok=True)
        self._counters = CounterFile(config.counters_dir, control.boot_id)
        calendar = BillingCalendar(config.tz, config.wall)
        self._lender = Lender(control, self._report_soon)
        engine = Engine(self._loop, self._before_turn)
        segments = SegmentBook(self._counters, calendar)
        self.plane = Plane(engine, calendar, self._lender.book, segments, PipePool(config.splice), config.limits)
        self._watch = Watch()
        self._reporter = Reporter(control, self.plane, self._watch, config.report_every_s)
        self._registry = ChipRegistry()
        passes = PassBook(control, self._registry.follow)
        self._follower = ChangeFollower(
            control, passes, self._registry, self.plane.book, self._spawn, self._reporter.wake
        )
        self._resolver = Resolver(config.allow_private_upstreams)
        self._desk = Desk(
            plane=self.plane,
            passes=passes,
            lender=self._lender,
            resolver=self._resolver,
            registry=self._registry,
            egress=config.egress,
            spawn=self._spawn,
            max_tunnels=self._max_tunnels,
        )
        self._listener = Listener(engine, self._welcome)
        self._status = StatusListener(registry_of(self.plane, lambda: self._reporter.age_s), self._not_ready, self._top)

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect."""
        return self._listener.address

    @property
    def status_port(self) -> int:
        return self._status.port

    async def start(self) -> None:
        """Listen and serve. Raises OSError; then nothing is left behind."""
        config = self._config
        try:
            self._listener.open(config.host, config.port, config.reuse_port)
            if config.status_port is not None:
                await self._status.start(config.status_host, config.status_port)
        except OSError:
            self._counters.remove()
            raise
        self.plane.engine.start()
        self._report_task = self._spawn(self._reporter.run())
        self._spawn(self._follower.run())
        self._spawn(self._settle_siblings())
        if config.handle_signals:
            self._handle_signals()
        spare_the_collector()
        gc.set_threshold(*GC_THRESHOLDS)
        host, port = self.address
        boot = str(self._control.boot_id)
        log.info("gateway.listening", host=host, port=port, boot=boot, max_tunnels=self._max_tunnels)

    async def run(self) -> None:
        """Until somebody asks to stop, then drain. Raises what a part of the gateway failed with."""
        await self._stopping.wait()
        if self._failure is not None:
            raise self._failure
        await self._drain()

    def ask_to_stop(self) -> None:
        """Drain; asked again, do not wait for running tunnels."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    async def stop(self) -> None:
        """End what still runs, report the last bytes, and remove the counter file if that was committed."""
        self._desk.draining = True
        self._listener.close()
        for member in self._registry.everyone():
            member.cut("draining")
        await self._wait_for_tunnels(LINGER_S)
        for member in self._registry.everyone():
            member.abort("draining")
        self._status.stop()
        await self._end_tasks()
        committed = self._failure is None and await self._report_last()
        self.plane.engine.stop()
        self.plane.pipes.close()
        self._resolver.stop()
        if committed:
            self._counters.remove()
        else:
            self._counters.close()
        gc.unfreeze()
        log.info("gateway.stopped", committed=committed)

    async def _drain(self) -> None:
        """Take nobody new; let running tunnels end by themselves for a while."""
        log.info("gateway.draining", tunnels=self.plane.tally.open_tunnels)
        self._desk.draining = True
        self._listener.close()
        await self._wait_for_tunnels(self._config.drain_s)

    async def _wait_for_tunnels(self, longest_s: float) -> None:
        end = self._loop.time() + longest_s
        tally = self.plane.tally
        while (tally.open_tunnels or tally.handshakes) and self._loop.time() < end and not self._hurry.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_POLL_S):
                    await self._hurry.wait()

    async def _end_tasks(self) -> None:
        """Questions and reports under way are answered first; the rest just ends."""
        self._reporter.stop()
        await self._lender.stop(FINAL_REPORT_S)
        if self._report_task is not None:
            await asyncio.wait([self._report_task], timeout=FINAL_REPORT_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _report_last(self) -> bool:
        """Whether everything this boot has counted is committed."""
        try:
            async with asyncio.timeout(FINAL_REPORT_S):
                while self._counters.live_slots or self.plane.book.unused_accounts():
                    await self._try_last_report()
        except TimeoutError:
            return False
        return True

    async def _try_last_report(self) -> None:
        try:
            await self._reporter.finish()
        except ControlUnavailable:
            log.warning("report.unanswered", at="stop")
            await asyncio.sleep(DRAIN_POLL_S)

    def _welcome(self, client: socket.SocketType) -> None:
        tally = self.plane.tally
        if tally.handshakes >= MAX_PENDING_HANDSHAKES or tally.handshakes + tally.open_tunnels >= self._max_connections:
            tally.refusals["too_many_handshakes"] += 1
            client.close()
            return
        Connection(self._desk, client).start()

    def _before_turn(self, now: float) -> None:
        self.plane.calendar.tick()
        if now >= self.plane.book.alarm:
            self.plane.book.lapse(now)

    def _report_soon(self) -> None:
        self._reporter.wake()

    def _not_ready(self) -> str:
        if self._desk.draining:
            return "The gateway is stopping."
        if self._reporter.age_s > READY_REPORT_AGE_S:
            return f"The control plane has not answered for {self._reporter.age_s:.0f} s."
        return ""

    def _top(self) -> dict[str, Any]:
        rates = self._watch.look(time.monotonic())
        shown = snapshot(self.plane, rates, self._registry.count)
        about = {"pid": os.getpid(), "port": self.address[1], "report_age_s": min(self._reporter.age_s, NEVER_S)}
        return {**about, **shown}

    async def _settle_siblings(self) -> None:
        while True:
            try:
                await settle_dead(self._config.counters_dir, self._control)
            except ControlUnavailable:
                log.warning("counters.unsettled")
            await asyncio.sleep(SETTLE_EVERY_S)

    def _spawn(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._reap)
        return task

    def _reap(self, task: asyncio.Task[None]) -> None:
        """A part that failed takes the process down, so that a fresh one starts from committed counters."""
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self._stopping.set()

    def _handle_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.ask_to_stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._follower.apply, Change("resync"))


def _connections_for(descriptors: int) -> tuple[int, int]:
    """How many tunnels they suffice for, at two each, and how many clients beyond that can still be answered."""
    spare = min(SPARE_DESCRIPTORS, descriptors // SPARE_SHARE)
    return (descriptors - spare) // 2, spare // SPARE_SHARE


def _raise_descriptor_limit() -> int:
    """Get as many descriptors as are wanted or allowed, and say how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(WANTED_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    log.info("gateway.descriptors", limit=soft)
    return WANTED_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
