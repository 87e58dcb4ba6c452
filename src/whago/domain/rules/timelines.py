"""A chip's past as stretches of time: which exit IP it had when, and how it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class SeenExit:
    """An assignment showed ``exit_ip`` from ``first_seen_at`` on; it ended at ``released_at`` (None: it lasts)."""

    assignment_id: UUID
    exit_ip: str
    first_seen_at: datetime
    last_seen_at: datetime
    released_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """``what`` was so from ``begins`` to ``ends``."""

    what: str
    begins: datetime
    ends: datetime


def exit_stretches(seen: Sequence[SeenExit], *, start: datetime, end: datetime) -> list[Stretch]:
    """``seen`` in the order of time. Without a proxy there is no stretch.

    Between two looks an address is taken to have stayed: it lasts until another one is seen, or the assignment ends.
    """
    stretches = []
    for position, one in enumerate(seen):
        following = seen[position + 1].first_seen_at if position + 1 < len(seen) else None
        ends = min(moment for moment in (following, one.released_at, end) if moment is not None)
        stretches.append(Stretch(one.exit_ip, one.first_seen_at, ends))
    return _within(_joined(stretches), start, end)


def status_stretches(changes: Iterable[tuple[str, datetime]], *, start: datetime, end: datetime) -> list[Stretch]:
    """``changes`` in the order of time, each a status and since when."""
    told = list(changes)
    moments = [since for _status, since in told[1:]] + [end]
    stretches = [Stretch(status, since, until) for (status, since), until in zip(told, moments, strict=False)]
    return _within(_joined(stretches), start, end)


def _joined(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Neighbours that say the same are one."""
    joined: list[Stretch] = []
    for one in stretches:
        if joined and joined[-1].what == one.what and joined[-1].ends >= one.begins:
            joined[-1] = Stretch(one.what, joined[-1].begins, max(joined[-1].ends, one.ends))
        else:
            joined.append(one)
    return joined


def _within(stretches: Sequence[Stretch], start: datetime, end: datetime) -> list[Stretch]:
    cut = [Stretch(one.what, max(one.begins, start), min(one.ends, end)) for one in stretches]
    return [one for one in cut if one.begins < one.ends]
