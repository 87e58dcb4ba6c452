"""Follows what the control plane says has changed: passes, running tunnels, leases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final
from uuid import UUID

import structlog

from whago.gateway.control import Change, Control, ControlUnavailable
from whago.gateway.leases import LeaseBook
from whago.gateway.passes import PassBook
from whago.gateway.registry import ChipRegistry

log = structlog.get_logger()

RESUBSCRIBE_S: Final = 1.0  # between attempts to hear changes again
REAUTHORISE_S: Final = 0.5  # between attempts to ask about a chip whose tunnels run
REAUTHORISE_TRIES: Final = 120  # a minute: by then the leases have lapsed, and nothing moves anyway


class ChangeFollower:
    """``spawn`` runs a coroutine and keeps it alive; ``report_soon`` makes the next report come at once."""

    def __init__(
        self,
        control: Control,
        passes: PassBook,
        registry: ChipRegistry,
        book: LeaseBook,
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        report_soon: Callable[[], None],
    ) -> None:
        self._control = control
        self._passes = passes
        self._registry = registry
        self._book = book
        self._spawn = spawn
        self._report_soon = report_soon
        self._asking: dict[UUID, asyncio.Task[None]] = {}

    async def run(self) -> None:
        while True:
            try:
                async for change in self._control.changes():
                    self.apply(change)
            except ControlUnavailable:
                log.warning("changes.interrupted")
            await asyncio.sleep(RESUBSCRIBE_S)
            self.apply(Change("resync"))

    def apply(self, change: Change) -> None:
        if change.kind == "quota":
            self._book.recall(self._book.of_user(change.id))
            self._report_soon()
            return
        concerned = self._registry.chips_concerned(change)
        self._passes.drop(change)
        if change.kind == "resync":
            self._book.doubt()
        for chip_id in concerned:
            if chip_id not in self._asking:
                self._asking[chip_id] = self._spawn(self._reauthorise(chip_id))
        if change.answer_to is not None:
            self._spawn(self._tell_followed(change.answer_to, [self._asking[chip_id] for chip_id in concerned]))

    async def _reauthorise(self, chip_id: UUID) -> None:
        """Ask about a chip that has tunnels; the answer reaches them through the registry."""
        try:
            for _ in range(REAUTHORISE_TRIES):
                if await self._asked(chip_id):
                    return
                await asyncio.sleep(REAUTHORISE_S)
        finally:
            del self._asking[chip_id]

    async def _tell_followed(self, token: UUID, asking: list[asyncio.Task[None]]) -> None:
        """Once no tunnel goes on under what was true before."""
        if asking:
            await asyncio.wait(asking)
        try:
            await self._control.followed(token)
        except ControlUnavailable:
            log.warning("changes.unanswered")

    async def _asked(self, chip_id: UUID) -> bool:
        try:
            await self._passes.get(chip_id)
        except ControlUnavailable:
            return False
        return self._passes.peek(chip_id) is not None
