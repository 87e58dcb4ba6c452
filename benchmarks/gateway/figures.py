"""From rounds to figures: medians per peer, and ratios within the same run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from benchmarks.gateway.phases import Round

Figures = Mapping[str, float]

BESIDE_IDLE: Final = {"idle_echo_p50_us": "echo_p50_us", "idle_echo_p99_us": "echo_p99_us"}
"""An echo's figures beside idle tunnels, and those of the same gateway and round without."""


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Of every figure, over the rounds that have it."""
    names = dict.fromkeys(name for round_ in rounds for name in round_.figures)
    return {name: median(of.figures[name] for of in rounds if name in of.figures) for name in names}


def paired(rounds: Sequence[Round], yardstick: Sequence[Round], name: str, against: str = "") -> float | None:
    """The median of the rounds' own ratios, because what drifts on the machine from round to round is in both sides.

    ``against``: the yardstick's figure, if it is not the one of the same name. None when no round has both figures, or
    the yardstick's are not positive.
    """
    against = against or name
    theirs = {of.number: of.figures[against] for of in yardstick if of.figures.get(against, 0) > 0}
    ratios = [of.figures[name] / theirs[of.number] for of in rounds if of.number in theirs and name in of.figures]
    return median(ratios) if ratios else None


def with_ratios(figures: Figures, rounds: Sequence[Round], yardsticks: Mapping[str, Sequence[Round]]) -> Figures:
    """``figures`` and, under the names of ``ratio_name``, how many times the yardsticks' they are.

    Those of ``BESIDE_IDLE`` are compared within the gateway as well, in the same way.
    """
    names = dict.fromkeys(name for round_ in rounds for name in round_.figures)
    ratios = {
        ratio_name(name, key): value
        for key, others in yardsticks.items()
        for name in names
        if (value := paired(rounds, others, name)) is not None
    }
    grown = {
        ratio_name(beside, quiet): value
        for beside, quiet in BESIDE_IDLE.items()
        if (value := paired(rounds, rounds, beside, quiet)) is not None
    }
    return {**figures, **ratios, **grown}


def ratio_name(name: str, yardstick: str) -> str:
    """What the ratio of a figure to the yardstick's is called among the figures of a peer."""
    return f"{name} × {yardstick}"
