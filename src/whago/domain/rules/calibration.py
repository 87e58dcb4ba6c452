"""What a vendor's meter really counts: a line through known transfers. Pure and exact (fractions, no floats).

A vendor that bills ``scale`` bytes for each byte on our wire and ``overhead`` bytes for each tunnel reports

    vendor = scale × wire + (scale × overhead) × tunnels

for every step of a calibration. Two unknowns, least squares by the normal equations (Gauss 1809). A scale other than 1
is another size of a GB (2^30 is 1.0737 × 10^9), a vendor's own KB, or a vendor that bills too much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

STEPS_MIN: Final = 4  # two unknowns, and enough left over to see whether a line fits at all
SCALE_LEAST, SCALE_MOST = Fraction(1, 2), Fraction(2)
OVERHEAD_MAX: Final = 65_536  # bytes per tunnel; TLS with a long chain has a tenth of it
OVERHEAD_NOISE: Final = 32  # a fit may fall so far below zero from rounding alone
RESIDUAL_MAX_PERCENT: Final = Decimal(2)
SNAP: Final = Fraction(3, 1000)  # how near to a known size a fitted one has to be to be taken for it
KNOWN_GB: Final = (10**9, 2**30)


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of transfers: our bytes on the wire, how many tunnels, and what the vendor counted meanwhile."""

    wire_bytes: int
    tunnels: int
    vendor_bytes: int


@dataclass(frozen=True, slots=True)
class Fit:
    """``bytes_per_gb``: our bytes that the vendor charges as one GB. ``residual_percent``: the worst step's distance
    from the line, of the mean step. ``is_known``: the size is one that vendors use, so it can be taken over."""

    scale: Decimal
    overhead_bytes: int
    bytes_per_gb: int
    is_known: bool
    residual_percent: Decimal


class NoFit(Exception):
    """``problem``: too_few, degenerate, scale_nonsense, overhead_nonsense, no_line; ``fit`` where one was found."""

    def __init__(self, problem: str, fit: Fit | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.fit = fit


def fit(steps: Sequence[Step], *, bytes_per_gb: int) -> Fit:
    """``bytes_per_gb``: what the provider's price is for now. Raises NoFit for what no meter would count."""
    if len(steps) < STEPS_MIN:
        raise NoFit("too_few")
    scale, per_tunnel = _solve(steps)
    if not SCALE_LEAST <= scale <= SCALE_MOST:
        raise NoFit("scale_nonsense")
    overhead = per_tunnel / scale
    size, is_known = _size(Fraction(bytes_per_gb) / scale, bytes_per_gb)
    found = Fit(
        scale=_decimal(scale, 6),
        overhead_bytes=max(0, round(overhead)),
        bytes_per_gb=size,
        is_known=is_known,
        residual_percent=_residual(steps, scale, per_tunnel),
    )
    if not -OVERHEAD_NOISE <= overhead <= OVERHEAD_MAX:
        raise NoFit("overhead_nonsense", found)
    if found.residual_percent > RESIDUAL_MAX_PERCENT:
        raise NoFit("no_line", found)
    return found


def _solve(steps: Sequence[Step]) -> tuple[Fraction, Fraction]:
    xx = sum(step.wire_bytes**2 for step in steps)
    xn = sum(step.wire_bytes * step.tunnels for step in steps)
    nn = sum(step.tunnels**2 for step in steps)
    xv = sum(step.wire_bytes * step.vendor_bytes for step in steps)
    nv = sum(step.tunnels * step.vendor_bytes for step in steps)
    determinant = xx * nn - xn * xn
    if determinant * 1000 <= xx * nn:  # all steps have much the same bytes per tunnel: the two cannot be told apart
        raise NoFit("degenerate")
    return Fraction(xv * nn - nv * xn, determinant), Fraction(nv * xx - xv * xn, determinant)


def _size(fitted: Fraction, current: int) -> tuple[int, bool]:
    for known in (current, *KNOWN_GB):
        if abs(fitted - known) <= SNAP * known:
            return known, True
    return round(fitted), False


def _residual(steps: Sequence[Step], scale: Fraction, per_tunnel: Fraction) -> Decimal:
    mean = Fraction(sum(step.vendor_bytes for step in steps), len(steps)) or Fraction(1)
    worst = max(abs(step.vendor_bytes - scale * step.wire_bytes - per_tunnel * step.tunnels) for step in steps)
    return _decimal(100 * worst / mean, 3)


def _decimal(value: Fraction, places: int) -> Decimal:
    return Decimal(round(value * 10**places)).scaleb(-places)
