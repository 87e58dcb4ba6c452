"""What flows now: the difference of totals that the page itself has seen, which it carries along in its address.

So no process has to remember anything, any number of them may answer, and the figure comes from the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

REMEMBERED: Final = timedelta(seconds=60)
SAMPLES_MAX: Final = 31  # a minute of two-second looks; an address stays below a thousand characters
SEEN_MAX_CHARS: Final = 1_500
SMOOTHED: Final = timedelta(seconds=6)  # gateways report twice a second, pages look every two: less would jump
MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Sample:
    """All bytes that ever flowed, as known ``at``."""

    at: datetime
    total: int


@dataclass(frozen=True, slots=True)
class Throughput:
    """``per_second`` in bytes, None before there is a second look. ``course``: the same between looks, oldest first."""

    per_second: int | None
    course: Sequence[int]
    seen: str


def throughput(seen: str, now: datetime, total: int) -> Throughput:
    """``seen`` is what the look before carried; whatever in it makes no sense is left out."""
    samples = [*_read(seen, now, total), Sample(now, total)][-SAMPLES_MAX:]
    course = [_rate(one, after) for one, after in pairwise(samples)]
    return Throughput(_now(samples), course, _written(samples))


def _now(samples: Sequence[Sample]) -> int | None:
    last = samples[-1]
    before = [one for one in samples[:-1] if last.at - one.at >= SMOOTHED] or samples[:1]
    return _rate(before[-1], last) if before[-1].at < last.at else None


def _rate(one: Sample, after: Sample) -> int:
    seconds = (after.at - one.at).total_seconds()
    return round((after.total - one.total) / seconds) if seconds > 0 else 0


def _read(seen: str, now: datetime, total: int) -> list[Sample]:
    samples: list[Sample] = []
    for part in seen[:SEEN_MAX_CHARS].split("_"):
        at, _, count = part.partition(".")
        if not (at.isascii() and at.isdigit() and len(at) <= 14 and count.isascii() and count.isdigit()):
            continue
        one = Sample(datetime.fromtimestamp(int(at) / MS, UTC), int(count))
        is_later = not samples or (one.at > samples[-1].at and one.total >= samples[-1].total)
        if is_later and now - REMEMBERED <= one.at < now and one.total <= total:
            samples.append(one)
    return samples


def _written(samples: Sequence[Sample]) -> str:
    return "_".join(f"{int(one.at.timestamp() * MS)}.{one.total}" for one in samples)
