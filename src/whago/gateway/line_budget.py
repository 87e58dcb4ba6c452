"""A bound on how many lines a burst may write to the log: what is left out is counted in one line."""

from __future__ import annotations

from typing import Final

import structlog

log = structlog.get_logger()

LINES_PER_S: Final = 200  # each costs about 50 µs: a burst of reconnects spends at most 1 % of a core on its log


class LineBudget:
    """So many lines in each second. Times are monotonic seconds."""

    def __init__(self, lines_per_s: int = LINES_PER_S) -> None:
        self._lines_per_s = lines_per_s
        self._second = 0
        self._spent = 0

    def spend(self, now: float) -> bool:
        """Whether one more line may be written."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        self._spent += 1
        return self._spent <= self._lines_per_s

    def _turn(self, second: int) -> None:
        left_out = self._spent - self._lines_per_s
        self._second = second
        self._spent = 0
        if left_out > 0:
            log.info("log.left_out", lines=left_out, event_left_out="tunnel.end")
