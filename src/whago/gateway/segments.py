"""Segments: what one tunnel has moved in one clock hour at one price. Each has a slot in the counter file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from whago.gateway.calendar import BillingCalendar
from whago.gateway.control import ChipPass, TunnelUsage
from whago.gateway.counters import DOWN, LAST, OVERHEAD, UP, CounterFile, pack_identity

Counts = tuple[int, int, int]
"""Bytes up, down and overhead."""

NOTHING: Final[Counts] = (0, 0, 0)


class Segment:
    """``cells[base + UP]`` and its neighbours are counted on directly.

    ``epoch``: the calendar's when it was opened; another one means that a new segment is due. After a count the tunnel
    calls ``touch`` unless ``dirty`` is set already.
    """

    __slots__ = (
        "_chip_pass", "_hour", "_on_dirty", "_started_us", "_tunnel_id", "base", "cells", "counted", "dirty", "epoch",
        "final",
    )  # fmt: skip

    def __init__(
        self,
        tunnel_id: int,
        chip_pass: ChipPass,
        calendar: BillingCalendar,
        file: CounterFile,
        on_dirty: Callable[[Segment], None],
    ) -> None:
        self._tunnel_id = tunnel_id
        self._chip_pass = chip_pass
        self._hour = calendar.hour
        self._started_us = calendar.now_us
        identity = pack_identity(tunnel_id, chip_pass.whose, chip_pass.price_id, calendar.hour_s, calendar.now_us)
        self.cells, self.base = file.open_slot(identity, calendar.now_us)
        self._on_dirty = on_dirty
        self.epoch = calendar.epoch
        self.dirty = False
        self.final = False
        self.counted = NOTHING  # of the last report that was answered

    @property
    def price_id(self) -> int:
        return self._chip_pass.price_id

    def key(self) -> tuple[int, datetime, int]:
        """Tunnel id, hour and price: what a row of the ledger is known by, within one boot."""
        return self._tunnel_id, self._hour, self._chip_pass.price_id

    @property
    def counts(self) -> Counts:
        cells, base = self.cells, self.base
        return cells[base + UP], cells[base + DOWN], cells[base + OVERHEAD]

    def touch(self) -> None:
        self.dirty = True
        self._on_dirty(self)

    def finish(self) -> None:
        """No more bytes will be counted here."""
        self.final = True
        if not self.dirty:
            self.touch()

    def usage(self) -> TunnelUsage:
        """The absolute counters now."""
        cells, base, chip_pass = self.cells, self.base, self._chip_pass
        return TunnelUsage(
            tunnel_id=self._tunnel_id,
            user_id=chip_pass.user_id,
            chip_id=chip_pass.chip_id,
            proxy_id=chip_pass.proxy_id,
            assignment_id=chip_pass.assignment_id,
            price_id=chip_pass.price_id,
            hour=self._hour,
            bytes_up=cells[base + UP],
            bytes_down=cells[base + DOWN],
            overhead=cells[base + OVERHEAD],
            started_us=self._started_us,
            last_us=cells[base + LAST],
        )

    def free(self, file: CounterFile) -> None:
        file.free_slot(self.cells, self.base)


class SegmentBook:
    """Opens segments and knows which of them have news for the next report."""

    def __init__(self, file: CounterFile, calendar: BillingCalendar) -> None:
        self.file = file
        self._calendar = calendar
        self._dirty: list[Segment] = []
        self._last_tunnel_id = 0

    def new_tunnel_id(self) -> int:
        self._last_tunnel_id += 1
        return self._last_tunnel_id

    def open(self, tunnel_id: int, chip_pass: ChipPass) -> Segment:
        """Raises CounterFileFull."""
        return Segment(tunnel_id, chip_pass, self._calendar, self.file, self._dirty.append)

    @property
    def dirty_count(self) -> int:
        """How many have news."""
        return len(self._dirty)

    def take_dirty(self, most: int) -> list[Segment]:
        """The first with news, at most ``most``, for a report that is made at once.

        What is counted from now on is news again: a segment that was taken and not yet reported would be told twice.
        """
        dirty = self._dirty[:most]
        del self._dirty[:most]
        for segment in dirty:
            segment.dirty = False
        return dirty

    def put_back(self, segments: list[Segment]) -> None:
        """Their report was not answered."""
        for segment in segments:
            if not segment.dirty:
                segment.touch()
