"""Who moves how much, counted only while somebody looks: the reports are read along, so that a tunnel pays nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from heapq import nlargest
from typing import Any, Final, TypeVar
from uuid import UUID

from whago.gateway.control import TunnelUsage
from whago.gateway.plane import Plane

WINDOW_S: Final = 1.0  # rates are of the last whole window; two reports fall into one
WATCHED_S: Final = 5.0  # after the last look: a view refreshes each second
SHOWN: Final = 50  # of chips, customers and proxies each: more than a terminal has lines

T = TypeVar("T")

Whose = tuple[UUID, UUID, UUID]
"""User, chip and proxy."""


class Watch:
    """Times are monotonic seconds. Rates are bytes per second, both ways, the exchange with the upstream included."""

    def __init__(self) -> None:
        self._until = 0.0
        self._began = 0.0
        self._moving: Counter[Whose] = Counter()
        self._moved: Counter[Whose] = Counter()
        self._took_s = WINDOW_S

    def is_on(self, now: float) -> bool:
        return now < self._until

    def note(self, usage: TunnelUsage, added: int) -> None:
        """A report has added ``added`` bytes."""
        self._moving[usage.user_id, usage.chip_id, usage.proxy_id] += added

    def turn(self, now: float) -> None:
        """Close the window when its time is over."""
        if now - self._began >= WINDOW_S:
            self._moved, self._moving = self._moving, Counter()
            self._took_s, self._began = now - self._began, now

    def look(self, now: float) -> dict[Whose, float]:
        """The rates of the last window; empty at the first look, which begins the counting."""
        if not self.is_on(now):
            self._moving.clear()
            self._moved.clear()
            self._began = now
        self._until = now + WATCHED_S
        self.turn(now)
        return {whose: moved / self._took_s for whose, moved in self._moved.items()}


def snapshot(plane: Plane, rates: dict[Whose, float], tunnels_of: Callable[[UUID], int]) -> dict[str, Any]:
    """What a live view shows of one process, ready for JSON. Totals are since the start; ``tunnels_of`` a chip."""
    tally = plane.tally
    return {
        "tunnels": tally.open_tunnels,
        "handshakes": tally.handshakes,
        "opened": tally.tunnels_started,
        "bytes": {"up": tally.bytes_up, "down": tally.bytes_down, "overhead": tally.overhead},
        "lease_waits": plane.book.waits,
        "refusals": dict(tally.refusals),
        "loop_lag_s": plane.engine.lag_s,
        "users": _greatest(rates, 0),
        "proxies": _greatest(rates, 2),
        "chips": [
            {"id": str(chip), "user": str(user), "proxy": str(proxy), "rate": rate, "tunnels": tunnels_of(chip)}
            for (user, chip, proxy), rate in _first(rates)
        ],
    }


def _greatest(rates: dict[Whose, float], part: int) -> list[dict[str, Any]]:
    sums: dict[UUID, float] = defaultdict(float)
    for whose, rate in rates.items():
        sums[whose[part]] += rate
    return [{"id": str(one), "rate": rate} for one, rate in _first(sums)]


def _first(rates: Mapping[T, float]) -> list[tuple[T, float]]:
    return nlargest(SHOWN, rates.items(), key=lambda entry: entry[1])
