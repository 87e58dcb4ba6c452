"""Whether a chip costs far more than it used to, judged by its own days and with measures that outliers do not bend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import median
from typing import Final

FLOOR_COST: Final = Decimal(2)  # in 24 hours, in the billing currency: below it nobody wants to be woken
DAYS_NEEDED: Final = 3  # with traffic: before that there is no usual
DAYS_LOOKED_AT: Final = 14  # two weeks hold two weekends
TIMES_USUAL: Final = 3
DEVIATIONS: Final = 6  # robust ones; three would call one day in four hundred a spike, and there are many chips
MAD_TO_DEVIATION: Final = Decimal("1.4826")  # of a normal distribution (Rousseeuw and Croux 1993)
CALM_SHARE: Final = Decimal("0.8")  # of the line, under which a spike is over: it must not flicker at the line


@dataclass(frozen=True, slots=True)
class SpikeLine:
    """``usual`` is the median day; above ``line`` a day is a spike, below ``calm`` it is over. All are money."""

    usual: Decimal
    line: Decimal

    @property
    def calm(self) -> Decimal:
        return self.line * CALM_SHARE


def spike_line(days: Sequence[Decimal]) -> SpikeLine | None:
    """From what earlier days cost, days without traffic left out; None when they are too few to judge by."""
    if len(days) < DAYS_NEEDED:
        return None
    usual = median(days)
    deviation = MAD_TO_DEVIATION * median([abs(day - usual) for day in days])
    return SpikeLine(usual, max(FLOOR_COST, usual * TIMES_USUAL, usual + DEVIATIONS * deviation))
