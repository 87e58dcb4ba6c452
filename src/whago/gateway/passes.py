"""Which chips may leave: the control plane's answers, kept for a while, asked for once however many wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from whago.gateway.control import Change, ChipPass, Control, ControlUnavailable, Refused

PASS_TTL_S: Final = 60.0  # a change is told within a second; this bounds what a lost message can do
REFUSED_TTL_S: Final = 2.0  # spares the control plane a client that retries in a loop
STALE_TTL_S: Final = 300.0  # without control plane; what may be moved is bounded by the lease, which lapses earlier
MAX_PASSES: Final = 100_000  # about 60 MB; beyond it the oldest are forgotten
MAX_QUESTIONS: Final = 16  # at once: a burst of reconnects is a queue here, not a crowd in the database

Answer = ChipPass | Refused


@dataclass(slots=True)
class _Entry:
    answer: Answer
    fresh_until: float
    stale_until: float


class PassBook:
    """``on_answer`` hears of every answer, so that running tunnels follow it."""

    def __init__(self, control: Control, on_answer: Callable[[UUID, Answer], None]) -> None:
        self._control = control
        self._on_answer = on_answer
        self._entries: dict[int, _Entry] = {}  # by the id's integer: a UUID is dear to hash
        self._flights: dict[UUID, asyncio.Task[Answer]] = {}
        self._outdated: set[UUID] = set()  # in flight, but asked before a change
        self._gate = asyncio.Semaphore(MAX_QUESTIONS)

    def peek(self, chip_id: UUID) -> Answer | None:
        """What is known and fresh."""
        entry = self._entries.get(chip_id.int)
        return entry.answer if entry is not None and time.monotonic() < entry.fresh_until else None

    async def get(self, chip_id: UUID) -> Answer:
        """Raises ControlUnavailable, unless an older pass can stand in meanwhile."""
        answer = self.peek(chip_id)
        if answer is not None:
            return answer
        flight = self._flights.get(chip_id)
        if flight is None:
            flight = self._flights[chip_id] = asyncio.create_task(self._ask(chip_id))
        try:
            return await asyncio.shield(flight)
        except ControlUnavailable:
            entry = self._entries.get(chip_id.int)
            if entry is None or time.monotonic() >= entry.stale_until:
                raise
            return entry.answer

    def drop(self, change: Change) -> None:
        """Forget every pass that ``change`` concerns, also those being asked for.

        A pass that is only in doubt (resync) may still stand in while the control plane is away; a changed one may not.
        """
        if change.kind == "chip" and change.id is not None:
            self._forget(change.id)
        elif change.kind == "resync":
            self._doubt_all()
        else:
            for key in [known for known, entry in self._entries.items() if concerns(change, entry.answer)]:
                self._forget(UUID(int=key))
            self._outdated.update(self._flights)

    def _forget(self, chip_id: UUID) -> None:
        self._entries.pop(chip_id.int, None)
        if chip_id in self._flights:
            self._outdated.add(chip_id)

    def _doubt_all(self) -> None:
        for entry in self._entries.values():
            entry.fresh_until = 0.0
        self._outdated.update(self._flights)

    async def _ask(self, chip_id: UUID) -> Answer:
        try:
            while True:
                self._outdated.discard(chip_id)
                async with self._gate:
                    answer = await self._control.authorise(chip_id)
                if chip_id not in self._outdated:
                    break
        finally:
            self._flights.pop(chip_id, None)
            self._outdated.discard(chip_id)
        self._keep(chip_id, answer)
        self._on_answer(chip_id, answer)
        return answer

    def _keep(self, chip_id: UUID, answer: Answer) -> None:
        now = time.monotonic()
        refused = isinstance(answer, Refused)
        fresh_s, stale_s = (REFUSED_TTL_S, 0.0) if refused else (PASS_TTL_S, STALE_TTL_S)
        self._entries.pop(chip_id.int, None)
        self._entries[chip_id.int] = _Entry(answer, now + fresh_s, now + stale_s)
        if len(self._entries) > MAX_PASSES:
            del self._entries[next(iter(self._entries))]


def concerns(change: Change, answer: Answer) -> bool:
    """Whether a pass carries what has changed. A refusal may be about anything."""
    if isinstance(answer, Refused) or change.id is None:
        return True
    match change.kind:
        case "chip":
            return answer.chip_id == change.id
        case "user":
            return answer.user_id == change.id
        case "proxy":
            return answer.proxy_id == change.id
        case "provider":
            return answer.provider_id == change.id
        case _:
            return True
