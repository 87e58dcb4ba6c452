"""When a chip's exit is gone, and which way it goes then: the cheapest change that can help comes first.

A chip keeps its identifier while its exit is merely slow. When its session no longer opens tunnels it is held for a
grace, then it gets a new session at the same provider, then another proxy there, then the next provider.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from whago.domain.rules.selection import Candidate, choose_proxy

GONE_AFTER: Final = 2  # failures in a row of one session; a single one is a hiccup, unless the proxy is out as well
COOL_DOWN: Final = timedelta(seconds=30)  # a chip that was just moved is not moved again before, whatever the grace
BACKED_OFF_MAX: Final = 4  # doublings of the grace: chips that fail wherever they are must not burn identities
COUNTED_MOVES: Final = timedelta(hours=1)  # moves that long ago no longer lengthen the grace


class Step(StrEnum):
    """The rungs, in their order; each is also the reason that history shows."""

    NEW_SESSION = "failover_session"
    ANOTHER_PROXY = "failover_proxy"
    NEXT_PROVIDER = "failover_provider"


STEPS: Final = tuple(Step)


@dataclass(frozen=True, slots=True)
class Plight:
    """How a chip's session fares. ``failures`` and ``refusals`` are those since it last opened a tunnel.

    ``refusals`` are answers about the account or the target; they count only while the provider's account is known to
    be in trouble. ``moves``: failovers of the chip within COUNTED_MOVES.
    """

    failures: int
    refusals: int
    failing_since: datetime | None
    proxy_is_out: bool = False
    provider_in_trouble: bool = False
    moves: int = 0


@dataclass(frozen=True, slots=True)
class Position:
    """Where the chip is now. ``region`` is the wanted one, or else that of its proxy: it is kept if it can be."""

    proxy_id: UUID
    provider_id: UUID
    region: str | None
    assign_reason: str
    has_worked: bool


def patience(grace: timedelta, moves: int) -> timedelta:
    """How long a failing session is held."""
    if moves == 0:
        return grace
    doublings: int = 2 ** min(moves - 1, BACKED_OFF_MAX)
    return max(grace, COOL_DOWN) * doublings


def is_gone(plight: Plight, *, grace: timedelta, now: datetime) -> bool:
    """Whether the session is to be given up."""
    if plight.failing_since is None or now - plight.failing_since < patience(grace, plight.moves):
        return False
    if plight.provider_in_trouble:
        return plight.failures + plight.refusals > 0
    return plight.failures >= (1 if plight.proxy_is_out else GONE_AFTER)


def way_out(found: Sequence[Candidate], here: Position) -> tuple[Step, Candidate] | None:
    """The first rung that has a usable proxy, beginning above the one that was tried last without success."""
    first = _first_step(here)
    for step in (*STEPS[first:], *STEPS[:first]):
        chosen = choose_proxy(_reached_by(step, found, here), region=here.region)
        if chosen is not None:
            return step, chosen
    return None


def _first_step(here: Position) -> int:
    """A session that never opened a tunnel was a rung that did not hold."""
    if here.has_worked or here.assign_reason not in STEPS:
        return 0
    return min(STEPS.index(Step(here.assign_reason)) + 1, len(STEPS) - 1)


def _reached_by(step: Step, found: Sequence[Candidate], here: Position) -> list[Candidate]:
    match step:
        case Step.NEW_SESSION:
            same = [one for one in found if one.proxy_id == here.proxy_id and one.proxy_type == "rotating"]
            return [replace(one, active_chips=max(0, one.active_chips - 1)) for one in same]  # its own place is freed
        case Step.ANOTHER_PROXY:
            return [one for one in found if one.provider_id == here.provider_id and one.proxy_id != here.proxy_id]
        case Step.NEXT_PROVIDER:
            return [one for one in found if one.provider_id != here.provider_id]
