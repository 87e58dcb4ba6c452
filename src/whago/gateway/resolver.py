"""The addresses of providers' proxies: resolved off the loop, checked, kept for a while.

The checked address is the one that is dialled, so a name cannot be turned to a private address in between.
"""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import structlog

from whago.kit.addresses import is_private_address

log = structlog.get_logger()

CACHE_S: Final = 30.0  # providers move their entry points by DNS, and expect clients to follow within a minute
FAILURE_CACHE_S: Final = 2.0  # spares the name server a retry loop
MAX_ADDRESSES: Final = 4  # tried one after the other within the dialling time
MAX_NAMES: Final = 4096  # provider hosts; there are tens
DNS_THREADS: Final = 4  # a stuck name server holds these and nobody else's


class UnknownHost(Exception):
    """The name has no address that may be dialled. The message is one sentence."""


@dataclass(frozen=True, slots=True)
class Address:
    family: socket.AddressFamily
    sockaddr: tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    addresses: tuple[Address, ...]
    problem: str
    until: float


class Resolver:
    """``allow_private``: also loopback, link-local and private addresses (demo, tests, own proxies)."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._entries: dict[tuple[str, int], _Entry] = {}
        self._flights: dict[tuple[str, int], asyncio.Task[_Entry]] = {}
        self._threads = ThreadPoolExecutor(DNS_THREADS, thread_name_prefix="dns")

    def peek(self, host: str, port: int) -> tuple[Address, ...] | None:
        """The addresses that are known to be good now."""
        entry = self._entries.get((host, port))
        if entry is None or entry.problem or time.monotonic() >= entry.until:
            return None
        return entry.addresses

    async def get(self, host: str, port: int) -> tuple[Address, ...]:
        """Raises UnknownHost."""
        key = (host, port)
        entry = self._entries.get(key)
        if entry is None or time.monotonic() >= entry.until:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = asyncio.create_task(self._resolve(host, port))
            entry = await asyncio.shield(flight)
        if entry.problem:
            raise UnknownHost(entry.problem)
        return entry.addresses

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _resolve(self, host: str, port: int) -> _Entry:
        try:
            entry = self._judge(host, await self._look_up(host, port))
        except OSError as error:
            entry = _Entry((), f"{host} cannot be resolved: {error}", time.monotonic() + FAILURE_CACHE_S)
        finally:
            self._flights.pop((host, port), None)
        if len(self._entries) >= MAX_NAMES:
            del self._entries[next(iter(self._entries))]
        self._entries[host, port] = entry
        if entry.problem:
            log.warning("upstream.unresolved", host=host, reason=entry.problem)
        return entry

    async def _look_up(self, host: str, port: int) -> list[Address]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]  # type: ignore[arg-type]

    def _judge(self, host: str, found: list[Address]) -> _Entry:
        good = [address for address in found if self._allow_private or not is_private_address(address.sockaddr[0])]
        if not good:
            problem = f"{host} has only private addresses, which are not dialled here"
            return _Entry((), problem, time.monotonic() + FAILURE_CACHE_S)
        return _Entry(tuple(good[:MAX_ADDRESSES]), "", time.monotonic() + CACHE_S)
