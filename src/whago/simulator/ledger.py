"""What the vendor counts: bytes on the raw client-side socket, in both directions, all the time."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

FINE_SECONDS: Final = 3600  # how far back flow is known to the second; also the longest lag the usage API can pretend
MINUTES_KEPT: Final = 40 * 24 * 60  # older flow is forgotten: a month and a margin, about 5 MB per account at most


@dataclass(slots=True)
class Counters:
    """Bytes on the wire. ``handshake_*`` is the part of ``wire_*`` that was greeting, authentication and CONNECT.

    Up is from the client to us, counted as it was received; down is from us to the client, counted as the kernel
    took it.
    """

    wire_up: int = 0
    wire_down: int = 0
    handshake_up: int = 0
    handshake_down: int = 0

    def add(self, other: Counters) -> None:
        """Add another count to this one, field by field."""
        self.wire_up += other.wire_up
        self.wire_down += other.wire_down
        self.handshake_up += other.handshake_up
        self.handshake_down += other.handshake_down

    def as_dict(self) -> dict[str, int]:
        """The four counts and ``wire_total``, for JSON."""
        return {**asdict(self), "wire_total": self.wire_up + self.wire_down}


class FlowLog:
    """Bytes over time of one account: to the second for the last hour, to the minute before. Memory is bounded."""

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()  # [second of the epoch, bytes], in order
        self._minutes: dict[int, int] = {}  # first second of the minute -> bytes, in order

    def add(self, at: datetime, count: int) -> None:
        """Record ``count`` bytes at ``at`` (aware)."""
        second = int(at.timestamp())
        if self._seconds and self._seconds[-1][0] >= second:
            self._seconds[-1][1] += count
            return
        self._seconds.append([second, count])
        while self._seconds[0][0] < second - FINE_SECONDS:
            self._fold(*self._seconds.popleft())

    def by_day(self, start: datetime, end: datetime) -> dict[str, int]:
        """Bytes per UTC day (``YYYY-MM-DD``) that flowed in [start, end); days without traffic are left out."""
        first, last = start.timestamp(), end.timestamp()
        days: dict[str, int] = {}
        for second, count in [*self._minutes.items(), *self._seconds]:
            if first <= second < last:
                day = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d")
                days[day] = days.get(day, 0) + count
        return days

    def _fold(self, second: int, count: int) -> None:
        minute = second - second % 60
        self._minutes[minute] = self._minutes.get(minute, 0) + count
        while len(self._minutes) > MINUTES_KEPT:
            del self._minutes[next(iter(self._minutes))]


@dataclass(slots=True)
class Account:
    """One paying customer of the vendor, or the owner of one static IP (then ``exit_ip`` is set)."""

    name: str
    password: str
    counters: Counters
    flow: FlowLog
    exit_ip: str | None = None

    @classmethod
    def open(cls, name: str, password: str, exit_ip: str | None = None) -> Account:
        """A new account with nothing counted yet."""
        return cls(name, password, Counters(), FlowLog(), exit_ip)
