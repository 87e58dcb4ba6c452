"""Which bridge may run a chip: who lives, who is dead, and who has the most room.

A *hold* is the right of one bridge process to run one chip. It lasts while its bridge gives signs of life, so that
hundreds of holds are renewed by one row. A bridge that hears no answer closes its chips before anybody counts it as
dead: at no moment do two of them run one chip. (Clocks of the backend's machines may differ by the difference of the
two, three seconds; the bridge measures with its own clock from before it asked.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

BEAT_EVERY_S: Final = 3  # one small row an interval; four may be lost before anything happens
FENCED_AFTER_S: Final = 12  # without an answer the bridge closes its chips: WhatsApp is not told two stories
DEAD_AFTER: Final = timedelta(seconds=15)  # after that its chips may go elsewhere
SILENT_AFTER: Final = timedelta(seconds=30)  # then somebody is told: a restart takes less, and so does moving its chips
GIVEN_UP_AFTER: Final = timedelta(minutes=10)  # a reboot takes less; later one whose chips run elsewhere is not missed
FORGOTTEN_AFTER: Final = timedelta(days=1)  # the row of a bridge that ended, for whoever looks into what happened


@dataclass(frozen=True, slots=True)
class SignOfLife:
    """``alive_since``: the beginning of the unbroken signs of life; ``stopped``: it said goodbye or was buried."""

    bridge_id: UUID
    last_seen_at: datetime
    alive_since: datetime
    stopped: bool = False

    def is_fresh(self, now: datetime) -> bool:
        return not self.stopped and now - self.last_seen_at <= DEAD_AFTER


def fell_silent(last_seen_at: datetime, stopped_at: datetime | None, now: datetime) -> bool:
    """Whether a bridge died without a word. One that said goodbye was heard until then; a dead one was buried later."""
    buried = stopped_at is not None and stopped_at - last_seen_at > DEAD_AFTER
    return (stopped_at is None or buried) and now - last_seen_at > SILENT_AFTER


def is_missed(last_seen_at: datetime, stranded: int, now: datetime) -> bool:
    """Whether a silent bridge is still worth a word. ``stranded``: its chips that run nowhere."""
    return stranded > 0 or now - last_seen_at <= GIVEN_UP_AFTER


@dataclass(frozen=True, slots=True)
class Load:
    """A living bridge and the chips that it holds."""

    bridge_id: UUID
    url: str
    holds: int
    max_chips: int

    @property
    def room(self) -> int:
        return max(self.max_chips - self.holds, 0)


def dead_bridges(signs: Sequence[SignOfLife], now: datetime) -> frozenset[UUID]:
    """Those that stopped, and those that are silent while another one was heard all the time.

    The witness tells a dead bridge from a backend that was away: after that all of them are silent, and moving the
    chips of whoever comes back second would help nobody.
    """
    witnessed = any(sign.is_fresh(now) and now - sign.alive_since >= DEAD_AFTER for sign in signs)
    return frozenset(
        sign.bridge_id for sign in signs if sign.stopped or (witnessed and now - sign.last_seen_at > DEAD_AFTER)
    )


def roomiest(loads: Sequence[Load]) -> Load | None:
    """Where the next chip goes: the bridge that is least full, as a share of what it may run; None without room."""
    open_ones = [load for load in loads if load.room > 0]
    return min(open_ones, key=lambda load: (load.holds / load.max_chips, load.holds, load.bridge_id), default=None)
