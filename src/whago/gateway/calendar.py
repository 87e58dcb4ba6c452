"""The clock hour and the billing month that bytes fall into, looked at once per turn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from whago.domain.rules.months import HOUR, billing_month, usage_hour


class BillingCalendar:
    """``epoch`` changes with the hour, so that a tunnel sees by one comparison that it needs a new segment.

    ``now_us``: microseconds since 1970, at the start of the turn; ``hour_s``: the hour's start in seconds. A wall clock
    that jumps, in either direction, is just another change of hour: what was counted stays where it was counted.
    """

    def __init__(self, tz: ZoneInfo, wall: Callable[[], float]) -> None:
        self._tz = tz
        self._wall = wall
        self.epoch = 0
        self._turn_hour(wall())

    def tick(self) -> None:
        now = self._wall()
        self.now_us = int(now * 1_000_000)
        if not self.hour_s <= now < self._hour_end:
            self._turn_hour(now)

    def _turn_hour(self, now: float) -> None:
        self.now_us = int(now * 1_000_000)
        self.hour: datetime = usage_hour(datetime.fromtimestamp(now, UTC), self._tz)
        self.month: date = billing_month(self.hour, self._tz)
        self.hour_s = int(self.hour.timestamp())
        self._hour_end = self.hour_s + HOUR.total_seconds()
        self.epoch += 1
