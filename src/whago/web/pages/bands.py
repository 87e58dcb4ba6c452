"""Stretches of time as a coloured band: where each begins, how long it is, and which colour it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from whago.domain.rules.timelines import Stretch

WIDTH: Final = 1000  # units of the drawing, whatever its size on a screen
COLOURS: Final = 6  # told apart by eye; a seventh address takes the first colour again, next to two others
LEAST_WIDTH: Final = 4.0  # units: a stretch of minutes in a month is still to be seen
TICKS: Final = 4


@dataclass(frozen=True, slots=True)
class Segment:
    """``x`` and ``width`` in units of WIDTH; ``tone`` is the end of a CSS class."""

    what: str
    tone: str
    x: float
    width: float
    begins: datetime
    ends: datetime

    @property
    def lasts(self) -> timedelta:
        return self.ends - self.begins


@dataclass(frozen=True, slots=True)
class Band:
    """``ticks`` are evenly spread moments from the beginning to the end."""

    segments: Sequence[Segment]
    begins: datetime
    ends: datetime

    @property
    def ticks(self) -> Sequence[datetime]:
        return [self.begins + (self.ends - self.begins) * number / TICKS for number in range(TICKS + 1)]


def band(
    stretches: Sequence[Stretch], *, begins: datetime, ends: datetime, tones: Mapping[str, str] | None = None
) -> Band:
    """Without ``tones`` every thing gets a colour of its own, in the order of its first appearance."""
    names = list(dict.fromkeys(one.what for one in stretches))
    found = tones if tones is not None else {name: str(names.index(name) % COLOURS + 1) for name in names}
    return Band([_segment(one, found.get(one.what, "0"), begins, ends) for one in stretches], begins, ends)


def _segment(one: Stretch, tone: str, begins: datetime, ends: datetime) -> Segment:
    whole = (ends - begins) / timedelta(microseconds=1) or 1.0
    x = (one.begins - begins) / timedelta(microseconds=1) / whole * WIDTH
    width = max((one.ends - one.begins) / timedelta(microseconds=1) / whole * WIDTH, LEAST_WIDTH)
    return Segment(one.what, tone, round(min(x, WIDTH - LEAST_WIDTH), 2), round(width, 2), one.begins, one.ends)
