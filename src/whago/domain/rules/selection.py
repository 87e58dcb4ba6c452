"""Which proxy a chip gets: the best provider's healthiest proxy with room, in the wanted region if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

HEALTHY_SCORE = 40  # below it a proxy is ejected and takes no new chip
STATIC_MAX_CHIPS = 1  # a static IP never serves two chips


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proxy of the pool as the choice sees it. Lower ``priority`` is preferred."""

    proxy_id: UUID
    provider_id: UUID
    priority: int
    region: str | None
    proxy_type: Literal["rotating", "static"]
    health_score: int
    active_chips: int
    max_chips: int | None

    @property
    def room(self) -> int | None:
        """Chips that still fit; None is without bound."""
        limit = STATIC_MAX_CHIPS if self.proxy_type == "static" else self.max_chips
        return None if limit is None else max(limit - self.active_chips, 0)


def choose_proxy(
    candidates: Iterable[Candidate], *, region: str | None, avoid: Sequence[UUID] = ()
) -> Candidate | None:
    """The proxy to assign, or None. ``avoid`` are proxies to leave out (the one that just failed).

    A wanted region is a preference: another region is better than no connection, and the pool says which it was.
    """
    usable = [c for c in candidates if c.health_score >= HEALTHY_SCORE and c.room != 0 and c.proxy_id not in avoid]
    return min(usable, key=lambda c: _rank(c, region), default=None)


def _rank(candidate: Candidate, region: str | None) -> tuple[bool, int, int, float, str]:
    elsewhere = region is not None and candidate.region != region
    load = candidate.active_chips / candidate.max_chips if candidate.max_chips else candidate.active_chips / 1e6
    return (elsewhere, candidate.priority, -candidate.health_score, load, str(candidate.proxy_id))
