"""Asks the control plane for leases: one question per account at a time, a bounded number in all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from whago.gateway.control import Control, ControlUnavailable, Exhausted, Wait
from whago.gateway.leases import Account, LeaseBook

log = structlog.get_logger()

LOOK_S: Final = 1.0  # silent tunnels end about this long after the quota did
MAX_QUESTIONS: Final = 16  # at once: as many as a small database pool serves without queueing


class Lender:
    """``on_recalled`` hears that an account which was called back can be given back now."""

    def __init__(self, control: Control, on_recalled: Callable[[], None]) -> None:
        self._control = control
        self._on_recalled = on_recalled
        self._loop = asyncio.get_running_loop()
        self._gate = asyncio.Semaphore(MAX_QUESTIONS)
        self._scheduled: set[Account] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False
        self._looking: set[Account] = set()
        self.book = LeaseBook(self.wake, self.look)

    def wake(self, account: Account) -> None:
        """Ask for ``account``, now or when its waiting time is over."""
        if account in self._scheduled or account.asking:
            return
        self._scheduled.add(account)
        delay_s = account.retry_at - time.monotonic()
        if delay_s <= 0:
            self._start(account)
        else:
            self._loop.call_later(delay_s, self._start, account)

    def look(self, account: Account) -> None:
        """Ask soon, for nothing, whether the user's silent tunnels may stay."""
        if account not in self._looking:
            self._looking.add(account)
            self._loop.call_later(LOOK_S, self._look, account)

    async def admission(self, account: Account) -> str:
        """Wait until it is known whether a new tunnel may start: "" yes, or a refusal's reason."""
        while (verdict := self.book.verdict(account, time.monotonic())) is None:
            waiter = _Waiter(self._loop.create_future())
            self.book.starve(account, waiter)
            try:
                refused = await waiter.outcome
            finally:
                account.starved.pop(waiter, None)
            if refused:
                return refused
        return verdict

    async def stop(self, longest_s: float) -> None:
        """Wait for the answers under way: a lease granted after the last report would never be given back."""
        self._stopped = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=longest_s)

    def _start(self, account: Account, look: bool = False) -> None:
        self._scheduled.discard(account)
        if self._stopped or account.asking or account.releasing or account.recalled:
            return
        task = self._loop.create_task(self._ask(account, self.book.begin(account, time.monotonic(), look)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _look(self, account: Account) -> None:
        self._looking.discard(account)
        if self.book.needs_look(account):
            self._start(account, look=True)

    async def _ask(self, account: Account, want: int) -> None:
        try:
            async with self._gate:
                sent_at = time.monotonic()
                answer = await self._control.lease(account.user_id, account.month, want)
        except ControlUnavailable:
            log.warning("lease.unanswered", user=str(account.user_id))
            self.book.unanswered(account, time.monotonic())
        else:
            if isinstance(answer, Wait | Exhausted):
                log.info("lease.denied", user=str(account.user_id), reason=type(answer).__name__.lower())
            self.book.answer(account, answer, sent_at, time.monotonic())
        if account.recalled:
            self._on_recalled()
        elif self.book.needs_asking(account):
            self.wake(account)


class _Waiter:
    """A new connection that waits for its user's first lease."""

    def __init__(self, outcome: asyncio.Future[str]) -> None:
        self.outcome = outcome

    def lease_ready(self) -> None:
        self._set("")

    def lease_refused(self, reason: str) -> None:
        self._set(reason)

    def _set(self, reason: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(reason)
