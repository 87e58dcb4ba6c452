"""Ours only: is the account right? The limit, ``kill -9``, and how soon a byte is in the database.

The chips count what they received, the provider counts what it received; both are other programs than the gateway. Raw
upstream bytes that neither counts as such are the provider's answers to CONNECT, whose length is known.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from benchmarks.gateway.build import Wire
from benchmarks.gateway.ends import TARGET, EndFailed, FarEnd, NearEnd
from benchmarks.gateway.install import Unavailable
from benchmarks.gateway.peer import Client
from benchmarks.gateway.processes import Running
from benchmarks.gateway.product import ProductDatabase
from whago.main.embedded import free_port, private_data_dir

TUNNELS: Final = 8
LIMIT_BYTES: Final = 48_000_000
ROOM_GB: Final = Decimal(1000)
ANSWER_BYTES: Final = len(b"HTTP/1.1 200 Connection established\r\n\r\n")
CHUNK_BYTES: Final = 1024 * 1024  # the most that is charged before it is forwarded, per direction and tunnel
PROCESSES: Final = (1, 2, 4)
KILLS: Final = 3
FETCH_MS: Final = 20_000
SETTLE_S: Final = 15.0  # the next boot settles the dead one at its start; a sibling looks every ten seconds
FRESH_BYTES: Final = 20_000_000
POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Account:
    """One check: what the wire carried and what was billed, in bytes; ``detail`` is for people."""

    name: str
    holds: bool
    detail: str


class Exactness:
    """All checks on one product database."""

    def __init__(self, wire: Wire, product: ProductDatabase, say: Callable[[str], None]) -> None:
        self._wire = wire
        self._product = product
        self._say = say

    def run(self, *, quick: bool = False) -> list[Account]:
        processes, kills = (PROCESSES[:1], 1) if quick else (PROCESSES, KILLS)
        accounts = [self._try(self._limit, count) for count in processes]
        accounts += [self._try(self._kill, number + 1) for number in range(kills)]
        return [*accounts, self._try(self._freshness, 1)]

    def _try(self, job: Callable[[int], Account], number: int) -> Account:
        try:
            account = job(number)
        except (Unavailable, EndFailed) as why:
            account = Account(job.__name__.strip("_"), False, str(why))
        self._say(f"  {account.name}: {'holds' if account.holds else 'BROKEN'}, {account.detail}")
        return account

    def _limit(self, processes: int) -> Account:
        """Eight tunnels race for the last bytes of one customer."""
        user, chips = self._product.customer(Decimal(LIMIT_BYTES) / 10**9, 4)
        with self._stage() as (folder, far), self._gateway(folder, chips, processes) as (_, near):
            reply = near.fetch(TUNNELS, 0, FETCH_MS)
            wire = reply.bytes + far.bytes_received() + reply.count * ANSWER_BYTES
            billed = _when_still(lambda: self._product.committed_bytes(user))
        holds = reply.bytes > 0 and wire <= LIMIT_BYTES and wire <= billed <= LIMIT_BYTES
        detail = (
            f"{max(0, wire - LIMIT_BYTES):,} bytes over the limit of {LIMIT_BYTES:,}, "
            f"{max(0, LIMIT_BYTES - wire):,} left unused, {billed - wire:,} billed beyond the wire"
        )
        return Account(f"limit, {processes} gateway process{'es' if processes > 1 else ''}", holds, detail)

    def _kill(self, number: int) -> Account:
        """``kill -9`` at a random moment of a download; the next boot settles what was not reported."""
        user, chips = self._product.customer(ROOM_GB, 4)
        with self._stage() as (folder, _far):
            with self._gateway(folder, chips, 1) as (running, near):
                near.begin_fetch(TUNNELS, 0, FETCH_MS)
                time.sleep(random.Random(number).uniform(0.3, 1.5))
                running.kill()
                received = near.end_fetch(FETCH_MS).bytes
            with self._gateway(folder, chips, 1):
                billed = _when_still(lambda: self._product.bytes_down(user))
        bound = TUNNELS * CHUNK_BYTES
        detail = (
            f"billed − wire = {billed - received:,} bytes of {received:,} (allowed 0 to {bound:,}, {TUNNELS} tunnels)"
        )
        return Account(f"kill -9, number {number}", received > 0 and 0 <= billed - received <= bound, detail)

    def _freshness(self, _: int) -> Account:
        """From a chip's last byte to the committed figure."""
        user, chips = self._product.customer(ROOM_GB, 1)
        with self._stage() as (folder, _far), self._gateway(folder, chips, 1) as (_running, near):
            near.fetch(1, FRESH_BYTES, FETCH_MS)
            begun = time.monotonic()
            while self._product.bytes_down(user) < FRESH_BYTES and time.monotonic() - begun < SETTLE_S:
                time.sleep(POLL_S)
            took = time.monotonic() - begun
        return Account("usage in the database", took <= 1.0, f"{took:.2f} s after the last byte")

    @contextmanager
    def _stage(self) -> Iterator[tuple[Path, FarEnd]]:
        folder = private_data_dir()
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            far = stack.enter_context(FarEnd(self._wire))
            self._product.point_at(far.auth)
            yield folder, far

    @contextmanager
    def _gateway(self, folder: Path, chips: Sequence[Client], processes: int) -> Iterator[tuple[Running, NearEnd]]:
        port = free_port()
        command = self._product.gateway(folder, port, processes)
        credentials = folder / "credentials"
        credentials.write_text("".join(f"{chip.basic}\n" for chip in chips))
        with (
            Running(command.argv, command.env, folder, port) as running,
            NearEnd(self._wire, "http", port, TARGET, credentials) as near,
        ):
            if processes > 1:
                time.sleep(processes)  # the port answers when the first of them does
            yield running, near


def _when_still(figure: Callable[[], int]) -> int:
    """A figure that has stopped growing for two seconds."""
    value, since, deadline = figure(), time.monotonic(), time.monotonic() + SETTLE_S
    while time.monotonic() - since < 2.0 and time.monotonic() < deadline:
        time.sleep(POLL_S)
        if (now := figure()) != value:
            value, since = now, time.monotonic()
    return value
