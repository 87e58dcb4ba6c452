"""An in-memory control plane with real lease arithmetic: a test double of our own port, for one or several boots."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import date
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from whago.domain.rules.months import billing_month
from whago.gateway.control import (
    Change,
    ChipPass,
    ControlUnavailable,
    CountersRefused,
    Exhausted,
    Grant,
    LeaseAnswer,
    Refused,
    Report,
    TunnelUsage,
    Upstream,
    Wait,
)

TZ = ZoneInfo("America/Sao_Paulo")
RowKey = tuple[UUID, int, object, int]
LeaseKey = tuple[UUID, UUID, date]


class Bank:
    """What the database would hold. Every change of leases checks committed + outstanding ≤ limit."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.limits: dict[UUID, int] = {}  # absent: unlimited
        self.blocks_new: set[UUID] = set()  # running tunnels go on, new ones are refused
        self.passes: dict[UUID, ChipPass | Refused] = {}
        self.rows: dict[RowKey, TunnelUsage] = {}
        self.granted: dict[LeaseKey, int] = {}
        self.settled: list[UUID] = []
        self.unknown_boots: set[UUID] = set()  # whose counters are never taken
        self.controls: dict[UUID, Control] = {}
        self.followed: list[UUID] = []
        self.dials: Counter[tuple[UUID, str]] = Counter()
        self.broken_invariants: list[str] = []
        self.max_lease = 1 << 26
        self.valid_s = 30.0

    def add_chip(self, upstream: Upstream, user_id: UUID | None = None, token: str = "token") -> ChipPass:
        chip_pass = ChipPass(
            chip_id=uuid4(),
            user_id=user_id or uuid4(),
            assignment_id=uuid4(),
            proxy_id=uuid4(),
            provider_id=uuid4(),
            price_id=1,
            credential_hash=hashlib.sha256(token.encode()).digest(),
            upstream=upstream,
        )
        self.passes[chip_pass.chip_id] = chip_pass
        return chip_pass

    def change_pass(self, chip_id: UUID, change: Callable[[ChipPass], ChipPass | Refused]) -> None:
        """Replace a chip's pass and tell every boot."""
        with self.lock:
            old = self.passes[chip_id]
            assert isinstance(old, ChipPass)
            self.passes[chip_id] = change(old)
        self.tell(Change("chip", chip_id))

    def set_limit(self, user_id: UUID, limit: int) -> None:
        with self.lock:
            self.limits[user_id] = limit
        self.tell(Change("quota", user_id))

    def tell(self, change: Change, but: UUID | None = None) -> None:
        for boot_id, control in list(self.controls.items()):
            if boot_id != but:
                control.hear(change)

    def used(self, user_id: UUID) -> int:
        """Committed bytes of a user, all months."""
        with self.lock:
            return sum(_bytes(row) for row in self.rows.values() if row.user_id == user_id)

    def usage_of(self, chip_id: UUID) -> tuple[int, int, int]:
        """Committed up, down and overhead bytes of a chip."""
        with self.lock:
            rows = [row for row in self.rows.values() if row.chip_id == chip_id]
        return sum(r.bytes_up for r in rows), sum(r.bytes_down for r in rows), sum(r.overhead for r in rows)

    def commit(self, boot_id: UUID, usages: Sequence[TunnelUsage]) -> None:
        with self.lock:
            for usage in usages:
                key = (boot_id, usage.tunnel_id, usage.hour, usage.price_id)
                old = self.rows.get(key)
                self.rows[key] = usage if old is None else _greatest(old, usage)
            self._check()

    def release(self, boot_id: UUID, user_id: UUID, month: date) -> None:
        with self.lock:
            self.granted[boot_id, user_id, month] = self._committed(user_id, month, boot_id)

    def lease(self, boot_id: UUID, user_id: UUID, month: date, want: int) -> LeaseAnswer:
        with self.lock:
            limit = self.limits.get(user_id)
            committed = self._committed(user_id, month)
            if limit is None or user_id in self.blocks_new:
                return Grant(None, limit is None or committed < limit, self.valid_s)
            key = (boot_id, user_id, month)
            free = limit - committed - self._outstanding(user_id, month)
            if free > 0:
                held = max(self.granted.get(key, 0), self._committed(user_id, month, boot_id))
                self.granted[key] = held + min(want, free, max(free // 4, 16384), self.max_lease)
                self._check()
                return Grant(self.granted[key], True, self.valid_s)
            elsewhere = self._outstanding(user_id, month, but=boot_id) > 0
        if elsewhere:
            self.tell(Change("quota", user_id), but=boot_id)
            return Wait(0.05)
        return Exhausted()

    def settle(self, boot_id: UUID, usages: Sequence[TunnelUsage]) -> None:
        self.commit(boot_id, usages)
        with self.lock:
            self.settled.append(boot_id)
            for boot, user_id, month in list(self.granted):
                if boot == boot_id:
                    self.release(boot, user_id, month)

    def outstanding(self, user_id: UUID) -> int:
        with self.lock:
            return sum(self._outstanding(user_id, month) for _, user, month in self.granted if user == user_id)

    def _check(self) -> None:
        for user_id, limit in self.limits.items():
            if user_id in self.blocks_new:
                continue
            for month in {month for _, user, month in self.granted if user == user_id}:
                total = self._committed(user_id, month) + self._outstanding(user_id, month)
                if total > limit:
                    self.broken_invariants.append(f"{total} > {limit}")

    def _committed(self, user_id: UUID, month: date, boot_id: UUID | None = None) -> int:
        return sum(
            _bytes(row)
            for (boot, *_), row in self.rows.items()
            if row.user_id == user_id and billing_month(row.hour, TZ) == month and boot_id in (None, boot)
        )

    def _outstanding(self, user_id: UUID, month: date, but: UUID | None = None) -> int:
        return sum(
            max(0, granted - self._committed(user_id, month, boot))
            for (boot, user, of_month), granted in self.granted.items()
            if user == user_id and of_month == month and boot != but
        )


class Control:
    """One boot's view of the bank. ``down`` makes every call fail; ``slow_s`` delays every answer."""

    def __init__(self, bank: Bank, boot_id: UUID | None = None) -> None:
        self.bank = bank
        self.boot_id = boot_id or uuid4()
        self.down = False
        self.slow_s = 0.0
        self.calls: Counter[str] = Counter()
        self.reports: list[Report] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changes: asyncio.Queue[Change]
        bank.controls[self.boot_id] = self

    async def authorise(self, chip_id: UUID) -> ChipPass | Refused:
        await self._answer("authorise")
        return self.bank.passes.get(chip_id, Refused("bad_credential"))

    async def lease(self, user_id: UUID, month: date, want_bytes: int) -> LeaseAnswer:
        await self._answer("lease")
        return self.bank.lease(self.boot_id, user_id, month, want_bytes)

    async def report(self, report: Report) -> None:
        await self._answer("report")
        self.reports.append(report)
        for dial in report.dials:
            self.bank.dials[dial.proxy_id, dial.outcome] += dial.count
        self.bank.commit(self.boot_id, report.usages)
        for user_id, month in report.release:
            self.bank.release(self.boot_id, user_id, month)

    async def settle(self, boot_id: UUID, usages: Sequence[TunnelUsage]) -> None:
        await self._answer("settle")
        if boot_id in self.bank.unknown_boots:
            raise CountersRefused("the bank knows no such customer")
        self.bank.settle(boot_id, usages)

    async def changes(self) -> AsyncIterator[Change]:
        self._changes = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        while True:
            yield await self._changes.get()

    async def followed(self, token: UUID) -> None:
        self.bank.followed.append(token)

    def hear(self, change: Change) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changes.put_nowait, change)

    async def _answer(self, call: str) -> None:
        self.calls[call] += 1
        await asyncio.sleep(self.slow_s)
        if self.down:
            raise ControlUnavailable


def _bytes(row: TunnelUsage) -> int:
    return row.bytes_up + row.bytes_down + row.overhead


def _greatest(old: TunnelUsage, new: TunnelUsage) -> TunnelUsage:
    return replace(
        new,
        bytes_up=max(old.bytes_up, new.bytes_up),
        bytes_down=max(old.bytes_down, new.bytes_down),
        overhead=max(old.overhead, new.overhead),
    )
