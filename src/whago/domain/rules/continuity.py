"""Exit-IP continuity as laws: what a look at an exit means, and how steady a provider's exits are, as numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

WINDOW: Final = timedelta(days=30)  # long enough for a median, short enough to follow a vendor's decline
SETTLED_AFTER: Final = timedelta(hours=1)  # a new exit that was kept this long is the chip's exit from now on
DUPLICATE_REST: Final = timedelta(hours=6)  # within it a chip is moved off one shared address only once,
DUPLICATE_MOVES_MAX: Final = 3  # and off different ones at most so often: a vendor short of addresses has no better
RECONNECT_REST: Final = timedelta(minutes=1)  # a chip that reconnects in a loop is not looked at each time
VOLUNTARY_ENDS: Final = frozenset(
    {"rotated_by_user", "forced_by_admin", "chip_deleted", "provider_deleted", "proxy_deleted", "drained", "draining"}
)  # a new exit that somebody asked for is no break of continuity


class ExitPolicy(StrEnum):
    """What a silent new exit IP does to its chip."""

    TOLERATE = "tolerate"
    ALERT = "alert"
    PAUSE = "pause"


class Meaning(StrEnum):
    """What one look at an exit means."""

    FIRST = "first"
    SAME = "same"
    SETTLED = "settled"  # a change that has lasted: what was told about it is over
    CHANGED = "changed"
    RETURNED = "returned"  # back at the address that the chip is expected to have


def judge(
    seen: str, *, last: str | None, expected: str | None, changed_at: datetime | None, is_paused: bool, now: datetime
) -> Meaning:
    """``last``: what the look before saw; ``changed_at``: since when a change is unsettled."""
    if last is None:
        return Meaning.FIRST
    if seen != last:
        was_told = is_paused or changed_at is not None
        return Meaning.RETURNED if was_told and seen == expected else Meaning.CHANGED
    if changed_at is not None and not is_paused and now - changed_at >= SETTLED_AFTER:
        return Meaning.SETTLED
    return Meaning.SAME


def may_move_off(exit_ip: str, moved_off: Sequence[str]) -> bool:
    """Whether a chip is moved off a shared address. ``moved_off``: what it was moved off within DUPLICATE_REST."""
    return exit_ip not in moved_off and len(moved_off) < DUPLICATE_MOVES_MAX


@dataclass(frozen=True, slots=True)
class Life:
    """One exit IP of one assignment. ``ended``: it was lost; otherwise we stopped looking, or it lives on."""

    length: timedelta
    ended: bool


@dataclass(frozen=True, slots=True)
class MedianLife:
    """``is_least``: more than half of the addresses still lived at the end, so the median is at least this."""

    length: timedelta
    is_least: bool


def median_life(lives: Iterable[Life]) -> MedianLife | None:
    """The median by Kaplan and Meier (1958), which uses addresses that still live without taking them for dead.

    None without any address. Counting only those that ended would make the best providers look the worst.
    """
    ordered = sorted(lives, key=lambda life: (life.length, not life.ended))
    alive = 1.0
    for position, life in enumerate(ordered):
        if life.ended:
            alive *= 1 - 1 / (len(ordered) - position)
            if alive <= 0.5:
                return MedianLife(life.length, is_least=False)
    return MedianLife(ordered[-1].length, is_least=True) if ordered else None
