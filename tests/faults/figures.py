"""What each fault has cost, in bytes, measured by the run that prints it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class Figure:
    """``wire``: bytes that the two ends counted themselves. ``billed``: what the product counted. ``limit``: if any."""

    fault: str
    wire: int
    billed: int
    limit: int | None = None

    @property
    def lost(self) -> int:
        """On the wire and not billed."""
        return max(0, self.wire - self.billed)

    @property
    def over(self) -> int:
        """Billed and not on the wire."""
        return max(0, self.billed - self.wire)

    @property
    def past_limit(self) -> int:
        """Forwarded or billed beyond the limit."""
        return 0 if self.limit is None else max(0, self.wire - self.limit, self.billed - self.limit)

    def sentence(self) -> str:
        past = "" if self.limit is None else f", {self.past_limit} past the limit of {self.limit}"
        return f"{self.wire} on the wire, {self.billed} billed: {self.lost} lost, {self.over} over{past}"


STATED = pytest.StashKey[list[Figure]]()

State = Callable[..., Figure]


def state_for(request: pytest.FixtureRequest) -> State:
    """A function that states one figure of the running test and returns it."""

    def state(fault: str, *, wire: int, billed: int, limit: int | None = None) -> Figure:
        figure = Figure(fault, wire, billed, limit)
        request.config.stash.setdefault(STATED, []).append(figure)
        request.node.user_properties.append((fault, figure.sentence()))
        return figure

    return state


def table(figures: list[Figure]) -> list[str]:
    """Lines of text, a head first and the sums last."""
    width = max(len(figure.fault) for figure in figures)
    columns = ("on the wire", "billed", "lost", "over", "past limit")
    lines = ["  ".join([" " * width, *(f"{column:>13}" for column in columns)])]
    for figure in figures:
        past = "no limit" if figure.limit is None else f"{figure.past_limit:,}"
        cells = [f"{figure.wire:,}", f"{figure.billed:,}", f"{figure.lost:,}", f"{figure.over:,}", past]
        lines.append("  ".join([f"{figure.fault:<{width}}", *(f"{cell:>13}" for cell in cells)]))
    sums = [
        sum(each) for each in zip(*((f.wire, f.billed, f.lost, f.over, f.past_limit) for f in figures), strict=True)
    ]
    return [*lines, "  ".join([f"{'In total':<{width}}", *(f"{one:>13,}" for one in sums)])]
