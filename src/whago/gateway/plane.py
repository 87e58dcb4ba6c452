"""What every connection of one gateway process shares."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from whago.gateway.calendar import BillingCalendar
from whago.gateway.config import READ_BYTES, Limits
from whago.gateway.counters import LAST
from whago.gateway.dial_tally import DialTally
from whago.gateway.engine import Engine
from whago.gateway.leases import Account, LeaseBook
from whago.gateway.line_budget import LineBudget
from whago.gateway.pipes import PipePool
from whago.gateway.segments import Segment, SegmentBook


@dataclass(slots=True)
class Tally:
    """Plain counts that the metrics read; per process, since its start."""

    handshakes: int = 0
    open_tunnels: int = 0
    tunnels_started: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    overhead: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    dials: DialTally = field(default_factory=DialTally)


class Plane:
    """``buffer`` is the one that all plain reads use; nothing stays in it after a call."""

    __slots__ = ("book", "buffer", "calendar", "engine", "limits", "lines", "pipes", "segments", "tally")

    def __init__(
        self,
        engine: Engine,
        calendar: BillingCalendar,
        book: LeaseBook,
        segments: SegmentBook,
        pipes: PipePool,
        limits: Limits,
    ) -> None:
        self.engine = engine
        self.calendar = calendar
        self.book = book
        self.segments = segments
        self.pipes = pipes
        self.limits = limits
        self.lines = LineBudget()
        self.tally = Tally()
        self.buffer = memoryview(bytearray(READ_BYTES))

    def charge(self, account: Account, segment: Segment, cell: int, count: int) -> None:
        """``count`` bytes, at most ``account.left``, are on the upstream's wire: take them from the lease and count.

        ``cell``: UP, DOWN or OVERHEAD.
        """
        cells, base = segment.cells, segment.base
        cells[base + cell] += count
        cells[base + LAST] = self.calendar.now_us
        account.left -= count
        if account.left < account.low:
            self.book.hunger(account)
        if not segment.dirty:
            segment.touch()

    def uncharge(self, account: Account, segment: Segment, cell: int, count: int) -> None:
        """The kernel did not take them after all: in the same turn as ``charge`` only."""
        segment.cells[segment.base + cell] -= count
        account.left += count
