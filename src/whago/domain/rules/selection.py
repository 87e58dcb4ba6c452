"""Which proxy a chip gets: the best provider's healthiest proxy with room, in the wanted region if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

HEALTHY_SCORE = 40  # below it a proxy is ejected and takes no new chip
STATIC_MAX_CHIPS = 1  # a static IP never serves two chips
USUAL_WEIGHT = 100  # of a provider; twice as much gets twice as many of the chips that equals share
NOMINAL_CHIPS = 100  # what a proxy without bound is measured by when chips are spread
FULL_COSTS = 20  # points of health: a full proxy stands that far behind an empty one, so that no one takes all


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proxy of the pool as the choice sees it. Lower ``priority`` is preferred.

    ``is_out``: it was ejected, or its provider's account is in trouble. ``is_draining``: it takes no new chips.
    """

    proxy_id: UUID
    provider_id: UUID
    priority: int
    region: str | None
    proxy_type: Literal["rotating", "static"]
    health_score: int
    active_chips: int
    max_chips: int | None
    weight: int = USUAL_WEIGHT
    is_out: bool = False
    is_draining: bool = False

    @property
    def room(self) -> int | None:
        """Chips that still fit; None is without bound."""
        limit = STATIC_MAX_CHIPS if self.proxy_type == "static" else self.max_chips
        return None if limit is None else max(limit - self.active_chips, 0)

    @property
    def is_usable(self) -> bool:
        """Whether it takes another chip."""
        return self.health_score >= HEALTHY_SCORE and self.room != 0 and not self.is_out and not self.is_draining

    @property
    def load(self) -> float:
        """Chips on it against what it, and its provider's weight, are good for."""
        return self.active_chips / (self.max_chips or NOMINAL_CHIPS) * USUAL_WEIGHT / self.weight


def choose_proxy(
    candidates: Iterable[Candidate], *, region: str | None, avoid: Sequence[UUID] = ()
) -> Candidate | None:
    """The proxy to assign, or None. ``avoid`` are proxies to leave out (the one that just failed).

    A wanted region is a preference: another region is better than no connection, and the pool says which it was.
    """
    usable = [one for one in candidates if one.is_usable and one.proxy_id not in avoid]
    return min(usable, key=lambda one: _rank(one, region), default=None)


def _rank(candidate: Candidate, region: str | None) -> tuple[bool, int, float, str]:
    elsewhere = region is not None and candidate.region != region
    merit = candidate.health_score - FULL_COSTS * candidate.load
    return (elsewhere, candidate.priority, -merit, str(candidate.proxy_id))
