"""From rounds to figures: medians per peer, and ratios within the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.gateway.phases import Round

Figures = Mapping[str, float]


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Of every figure, over the rounds that have it."""
    names = dict.fromkeys(name for round_ in rounds for name in round_.figures)
    return {name: median(of.figures[name] for of in rounds if name in of.figures) for name in names}


def ratio(figures: Figures, yardstick: Figures, name: str) -> float | None:
    """None when either side was not measured, or the yardstick is not positive."""
    ours, theirs = figures.get(name), yardstick.get(name)
    return ours / theirs if ours is not None and theirs is not None and theirs > 0 else None
