"""A vendor's bill beside our own figures: what it should say, and whether it does. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Final, Protocol
from zoneinfo import ZoneInfo

COST_SCALE: Final = Decimal("1E-15")  # as the ledger keeps it
EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)
PERCENT_SCALE: Final = Decimal("0.001")
LEAST_BYTES: Final = 1_000_000  # a day below a megabyte on both sides is noise, whatever its percentage
RESOLUTIONS: Final = 2  # a difference of so many steps of a coarse source says nothing


class Verdict(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True)
class Ours:
    """What we know of a provider's day, in bytes. ``tunnels``: how many were opened."""

    chip_bytes: int
    house_bytes: int
    tunnels: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """``difference_bytes``: vendor minus expected; ``difference_percent`` of what was expected, None without any."""

    expected_bytes: int
    difference_bytes: int
    difference_percent: Decimal | None
    difference_cost: Decimal
    verdict: Verdict


def compare(
    vendor_bytes: int,
    ours: Ours,
    *,
    overhead_per_tunnel: int,
    threshold_percent: Decimal,
    resolution_bytes: int,
    cost_per_gb: Decimal,
    bytes_per_gb: int,
) -> Comparison:
    """``threshold_percent``: how far the vendor may be off in either direction before it counts as a difference."""
    expected = ours.chip_bytes + ours.house_bytes + overhead_per_tunnel * ours.tunnels
    difference = vendor_bytes - expected
    percent = (
        EXACT.divide(Decimal(difference * 100), Decimal(expected)).quantize(PERCENT_SCALE, context=EXACT)
        if expected
        else None
    )
    return Comparison(
        expected,
        difference,
        percent,
        cost_of(difference, cost_per_gb, bytes_per_gb),
        _verdict(vendor_bytes, expected, difference, threshold_percent, resolution_bytes),
    )


def cost_of(moved_bytes: int, cost_per_gb: Decimal, bytes_per_gb: int) -> Decimal:
    """Money for bytes, to 15 places; below zero for bytes below zero."""
    exact = EXACT.divide(EXACT.multiply(Decimal(moved_bytes), cost_per_gb), Decimal(bytes_per_gb))
    return exact.quantize(COST_SCALE, context=EXACT)


def day_bounds(day: date, tz: ZoneInfo) -> tuple[datetime, datetime]:
    """First instant of a day of this zone and of the day after, in UTC; a day may have 23 or 25 hours."""
    after = day + timedelta(days=1)
    starts = (datetime(one.year, one.month, one.day, tzinfo=tz).astimezone(UTC) for one in (day, after))
    begins, ends = starts
    return begins, ends


def complete_days(now: datetime, tz: ZoneInfo, *, lag: timedelta, back: int) -> list[date]:
    """The vendor's last ``back`` days whose figures are complete by now, oldest first."""
    newest = (now - lag).astimezone(tz).date() - timedelta(days=1)
    return [newest - timedelta(days=ago) for ago in reversed(range(back))]


def _verdict(vendor: int, expected: int, difference: int, threshold_percent: Decimal, resolution: int) -> Verdict:
    if max(vendor, expected) < LEAST_BYTES:
        return Verdict.UNJUDGED
    if abs(difference) * 100 <= EXACT.multiply(threshold_percent, Decimal(expected)):
        return Verdict.AGREES
    return Verdict.UNJUDGED if abs(difference) <= RESOLUTIONS * resolution else Verdict.DIFFERS


class Compared(Protocol):
    """A day as it was compared."""

    @property
    def vendor_bytes(self) -> int: ...
    @property
    def expected_bytes(self) -> int: ...
    @property
    def difference_cost(self) -> Decimal: ...
    @property
    def verdict(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Total:
    """Several days together. ``differing``: how many are past the threshold."""

    vendor_bytes: int
    expected_bytes: int
    difference_cost: Decimal
    differing: int

    @property
    def difference_bytes(self) -> int:
        return self.vendor_bytes - self.expected_bytes

    @property
    def difference_percent(self) -> Decimal | None:
        if not self.expected_bytes:
            return None
        percent = EXACT.divide(Decimal(self.difference_bytes * 100), Decimal(self.expected_bytes))
        return percent.quantize(PERCENT_SCALE, context=EXACT)


def total(days: Sequence[Compared]) -> Total:
    """The days added up."""
    return Total(
        vendor_bytes=sum(day.vendor_bytes for day in days),
        expected_bytes=sum(day.expected_bytes for day in days),
        difference_cost=sum((day.difference_cost for day in days), Decimal(0)),
        differing=sum(day.verdict == Verdict.DIFFERS.value for day in days),
    )
