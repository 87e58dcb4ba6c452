"""All bridges as one: each chip is asked for where it runs, a new one goes where there is the most room.

The bridges announce themselves to the backend (``domain/actions/bridges.py``); nothing is configured here but the
secret that all of them share. Safe to share between threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Final
from uuid import UUID

import structlog

from whago.bridge.client import USUAL, BridgeClient
from whago.bridge.wire import BridgeChip, BridgePairing
from whago.domain.queries.bridges import all_living_bridges, bridge_of, living_bridges
from whago.domain.rules.holds import Load, roomiest
from whago.domain.rules.thrift import Thrift
from whago.errors import WhagoError
from whago.kit import clock

log = structlog.get_logger()

NOT_HERE: Final = frozenset({"bridge_full", "runs_elsewhere"})  # refusals after which another bridge is tried
PLACES_TRIED: Final = 3  # another request took the last room; more in a row is not bad luck


@dataclass(frozen=True, slots=True)
class Roll:
    """What the bridges have, and where. Of the chips of ``silent`` ones nothing is known: they do not answer."""

    chips: dict[UUID, BridgeChip]
    places: dict[UUID, str]
    silent: frozenset[str]


class BridgeFleet:
    """Raises as ``BridgeClient`` does; ``bridge_unavailable`` also when no bridge lives or none has room."""

    def __init__(self, secret: str, *, now: Callable[[], datetime] = clock.now) -> None:
        self._secret = secret
        self._now = now
        self._clients: dict[str, BridgeClient] = {}
        self._silent: frozenset[str] = frozenset()  # as of the last roll
        self._lock = Lock()

    def close(self) -> None:
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def create(self, chip_id: UUID, proxy_url: str, thrift: Thrift = USUAL) -> BridgeChip:
        """Start the chip where it is held, else where there is the most room. It takes ``proxy_url`` in any case."""
        for client in self._places(chip_id):
            try:
                return _started(client, chip_id, proxy_url, thrift)
            except WhagoError as error:
                if error.details.get("reason") not in NOT_HERE:
                    raise
        raise WhagoError("bridge_unavailable")

    def get(self, chip_id: UUID) -> BridgeChip | None:
        client = self._holder(chip_id)
        return client.get(chip_id) if client is not None else None

    def qr(self, chip_id: UUID) -> BridgePairing | None:
        client = self._holder(chip_id)
        return client.qr(chip_id) if client is not None else None

    def pairing_code(self, chip_id: UUID, phone: str) -> BridgePairing:
        client = self._holder(chip_id)
        if client is None:
            raise WhagoError("bridge_refused", reason="not_pairing")
        return client.pairing_code(chip_id, phone)

    def spare(self, chip_id: UUID, thrift: Thrift) -> BridgeChip | None:
        client = self._holder(chip_id)
        return client.spare(chip_id, thrift) if client is not None else None

    def stop(self, chip_id: UUID) -> BridgeChip | None:
        """None when no living bridge holds the chip: it is stopped then."""
        client = self._holder(chip_id)
        return client.stop(chip_id) if client is not None else None

    def logout(self, chip_id: UUID) -> bool:
        """Unlink the phone, where the chip runs; elsewhere only forget the pairing."""
        client = self._holder(chip_id)
        return client.logout(chip_id) if client is not None else self.delete(chip_id, logout=False)

    def delete(self, chip_id: UUID, logout: bool) -> bool:
        """Any bridge can forget a chip that none runs."""
        for client in self._places(chip_id):
            return client.delete(chip_id, logout)
        raise WhagoError("bridge_unavailable")

    def roll(self) -> Roll:
        """Every chip of every living bridge; of two that have one, the one that runs it."""
        chips: dict[UUID, BridgeChip] = {}
        places: dict[UUID, str] = {}
        silent: dict[str, str] = {}
        for load in all_living_bridges(now=self._now()):
            try:
                items = self._client(load.url).list().items
            except WhagoError as error:
                silent[load.url] = error.code
                continue
            for chip in items:
                if chip.chip_id not in chips or chip.runs:
                    chips[chip.chip_id], places[chip.chip_id] = chip, load.url
        self._tell_changes(silent)
        return Roll(chips, places, frozenset(silent))

    def drop(self, url: str, chip_id: UUID) -> None:
        """Ends a chip that the bridge there should not have."""
        self._client(url).delete(chip_id, logout=True)

    def loads(self) -> list[Load]:
        """The bridges that take chips."""
        return living_bridges(now=self._now())

    def _tell_changes(self, silent: Mapping[str, str]) -> None:
        """Once when a bridge falls silent, once when it answers again or is given up; ``silent``: address → code."""
        with self._lock:
            before, self._silent = self._silent, frozenset(silent)
        for url in sorted(silent.keys() - before):
            log.warning("bridge.silent", url=url, code=silent[url])
        for url in sorted(before - silent.keys()):
            log.info("bridge.no_longer_silent", url=url)

    def _places(self, chip_id: UUID) -> Iterator[BridgeClient]:
        """Where the chip is held, or places for it, the best first; loads are read anew for each."""
        holder = self._holder(chip_id)
        if holder is not None:
            yield holder
            return
        tried: set[UUID] = set()
        for _ in range(PLACES_TRIED):
            best = roomiest([load for load in self.loads() if load.bridge_id not in tried])
            if best is None:
                return
            tried.add(best.bridge_id)
            yield self._client(best.url)

    def _holder(self, chip_id: UUID) -> BridgeClient | None:
        url = bridge_of(chip_id, now=self._now())
        return self._client(url) if url is not None else None

    def _client(self, url: str) -> BridgeClient:
        with self._lock:
            return self._clients.setdefault(url, BridgeClient(url, self._secret))


def _started(client: BridgeClient, chip_id: UUID, proxy_url: str, thrift: Thrift) -> BridgeChip:
    """A chip that runs already changes to the new credential: the earlier one is dead."""
    try:
        return client.create(chip_id, proxy_url, thrift=thrift)
    except WhagoError as error:
        if error.details.get("reason") != "other_proxy":
            raise
    return client.use_proxy(chip_id, proxy_url)
