"""What came of dials since the last report, by assignment: one look-up per dial, nothing kept beyond a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from whago.gateway.control import ChipPass, ProxyDials

ESTABLISHED: Final = "established"


@dataclass(slots=True)
class _Session:
    assignment_id: UUID
    proxy_id: UUID
    established: int = 0
    took_s: float = 0.0
    failed: Counter[tuple[str, int]] = field(default_factory=Counter)  # by reason and the upstream's status


class DialTally:
    """Filled by connections, emptied by the reporter."""

    __slots__ = ("_sessions",)

    def __init__(self) -> None:
        self._sessions: dict[int, _Session] = {}  # by the assignment id's integer: a UUID is dear to hash

    def __bool__(self) -> bool:
        return bool(self._sessions)

    def established(self, chip_pass: ChipPass, took_s: float) -> None:
        """A tunnel is open, ``took_s`` seconds after its dial began."""
        session = self._of(chip_pass)
        session.established += 1
        session.took_s += took_s

    def failed(self, chip_pass: ChipPass, reason: str, status: int) -> None:
        """``reason``: a key of REFUSALS; ``status``: the upstream's own, 0 for none."""
        self._of(chip_pass).failed[reason, status] += 1

    def take(self) -> list[ProxyDials]:
        """All of it; the tally is empty afterwards."""
        taken, self._sessions = self._sessions, {}
        return [dials for session in taken.values() for dials in _told(session)]

    def _of(self, chip_pass: ChipPass) -> _Session:
        key = chip_pass.assignment_id.int
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(chip_pass.assignment_id, chip_pass.proxy_id)
        return session


def _told(session: _Session) -> Iterator[ProxyDials]:
    assignment_id = session.assignment_id
    if session.established:
        took_ms = round(session.took_s * 1000)
        yield ProxyDials(assignment_id, session.proxy_id, ESTABLISHED, session.established, took_ms=took_ms)
    for (reason, status), count in session.failed.items():
        yield ProxyDials(assignment_id, session.proxy_id, reason, count, status)
