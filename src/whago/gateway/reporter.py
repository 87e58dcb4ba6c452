"""Tells the control plane, twice a second, the absolute counters of what changed, and gives leases back.

A report that is not answered is simply made again, with the counters as they are by then. Leases that go back with it
stay held until it is committed.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog

from whago.gateway.control import Control, ControlUnavailable, Report
from whago.gateway.leases import Account, LeaseBook
from whago.gateway.plane import Plane
from whago.gateway.segments import Segment
from whago.gateway.watch import Watch

log = structlog.get_logger()

MAX_ROWS: Final = 4000  # of one report: a transaction of tens of milliseconds, so that leases are not kept waiting
HEARTBEAT_S: Final = 5.0  # an empty report renews the leases and tells that this boot lives


class Reporter:
    """Reports until it is stopped; then ``finish`` makes the last ones."""

    def __init__(self, control: Control, plane: Plane, watch: Watch, every_s: float) -> None:
        self._control = control
        self._plane = plane
        self._watch = watch
        self._every_s = every_s
        self._wake = asyncio.Event()
        self._going_back: list[Account] = []
        self._stopped = False
        self._committed_at = float("-inf")

    @property
    def _book(self) -> LeaseBook:
        return self._plane.book

    @property
    def age_s(self) -> float:
        """Seconds since the last committed report."""
        return time.monotonic() - self._committed_at

    def wake(self) -> None:
        """Something should be told without waiting for the clock."""
        self._wake.set()

    async def run(self) -> None:
        """Until ``stop``; a report under way is waited for."""
        while not self._stopped:
            try:
                await self.report()
            except ControlUnavailable:
                log.warning("report.unanswered", age_s=round(self.age_s, 1))
            await self._pause()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    async def report(self) -> None:
        """Everything that has changed, in as many reports as it takes. Raises ControlUnavailable; nothing is lost."""
        self._going_back += self._book.take_releases(time.monotonic())
        await self._tell()

    async def finish(self) -> None:
        """The last reports: every counter and every lease. Raises ControlUnavailable."""
        self._going_back += self._book.take_all()
        await self._tell()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._every_s):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _tell(self) -> None:
        """What has news at this moment; what gets some meanwhile comes behind it, and waits for the next round."""
        book = self._plane.segments
        left = book.dirty_count
        is_news = bool(left or self._going_back or self._plane.tally.dials)
        if not is_news and self.age_s < min(HEARTBEAT_S, self._book.shortest_valid_s / 4):
            return
        while True:
            batch = book.take_dirty(min(left, MAX_ROWS))
            left -= len(batch)
            try:
                await self._send(batch, [] if left else self._going_back)
            except BaseException:  # unanswered, or cancelled at the stop
                book.put_back(batch)
                raise
            if not left:
                return

    async def _send(self, segments: list[Segment], releases: list[Account]) -> None:
        """One report. What is final at this moment has no more news, so its slot is free once it is committed."""
        final = [segment for segment in segments if segment.final]
        report = Report(
            usages=[segment.usage() for segment in segments],
            release=[(account.user_id, account.month) for account in releases],
            open_tunnels=self._plane.tally.open_tunnels,
            dials=self._plane.tally.dials.take(),
        )
        sent_at = time.monotonic()
        await self._control.report(report)
        self._committed_at = time.monotonic()
        self._count(segments, report)
        for segment in final:
            segment.free(self._plane.segments.file)
        self._book.renewed(sent_at)
        if releases:
            self._going_back = []
            self._book.released(releases)

    def _count(self, segments: list[Segment], report: Report) -> None:
        """Move the process's totals on by what this report added."""
        tally, watch = self._plane.tally, self._watch
        watched = watch.is_on(self._committed_at)
        if watched:
            watch.turn(self._committed_at)
        for segment, usage in zip(segments, report.usages, strict=True):
            up, down, overhead = segment.counted
            tally.bytes_up += usage.bytes_up - up
            tally.bytes_down += usage.bytes_down - down
            tally.overhead += usage.overhead - overhead
            segment.counted = (usage.bytes_up, usage.bytes_down, usage.overhead)
            if watched:
                watch.note(usage, sum(segment.counted) - up - down - overhead)
