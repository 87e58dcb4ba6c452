"""A coarse timer wheel: thousands of deadlines without a timer each, checked four times a second."""

from __future__ import annotations

from typing import Final, Protocol

GRAIN_S: Final = 0.25  # every deadline here is seconds to minutes, so a quarter of a second late does not matter


class Timed(Protocol):
    """``bucket`` belongs to the wheel."""

    bucket: int

    def on_deadline(self, now: float) -> None:
        """Called once, not before the deadline; may set a new one."""
        ...


class Wheel:
    """Buckets of one grain each. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._buckets: dict[int, set[Timed]] = {}
        self._turned = int(now / GRAIN_S)

    def set(self, timed: Timed, deadline: float) -> None:
        """Set or move the one deadline of ``timed``."""
        number = int(deadline / GRAIN_S) + 1
        if number <= self._turned:
            number = self._turned + 1
        if number == timed.bucket:
            return
        if timed.bucket:
            self.clear(timed)
        timed.bucket = number
        bucket = self._buckets.get(number)
        if bucket is None:
            self._buckets[number] = {timed}
        else:
            bucket.add(timed)

    def clear(self, timed: Timed) -> None:
        if not timed.bucket:
            return
        bucket = self._buckets.get(timed.bucket)
        if bucket is not None:
            bucket.discard(timed)
            if not bucket:
                del self._buckets[timed.bucket]
        timed.bucket = 0

    def turn(self, now: float) -> None:
        """Call everything whose deadline has passed."""
        current = int(now / GRAIN_S)
        for number in range(self._turned + 1, current + 1):
            self._turned = number
            for timed in self._buckets.pop(number, ()):
                timed.bucket = 0
                timed.on_deadline(now)
        self._turned = current
