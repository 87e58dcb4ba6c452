"""Names for ids, asked of the database once each; where it cannot be asked, an id is its own name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from whago.domain.queries.naming import names_of
from whago.errors import WhagoError
from whago.kit import db

TIMEOUT_MS: Final = 2_000
MAX_NAMES: Final = 10_000  # a view that runs for weeks forgets and asks again


class Namer:
    """``database_url`` None: ids only."""

    def __init__(self, database_url: str | None) -> None:
        self._asks = database_url is not None
        self._names: dict[str, str] = {}
        if database_url is not None:
            db.connect(database_url, pool_size=1, statement_timeout_ms=TIMEOUT_MS, lock_timeout_ms=TIMEOUT_MS)

    def learn(self, *, users: Iterable[str], chips: Iterable[str], proxies: Iterable[str]) -> None:
        """Ask for what is not known yet, in one question."""
        new = [[one for one in ids if one not in self._names] for ids in (users, chips, proxies)]
        if not self._asks or not any(new):
            return
        if len(self._names) > MAX_NAMES:
            self._names.clear()
        self._names |= {one: one for ids in new for one in ids}
        try:
            found = names_of(**dict(zip(("users", "chips", "proxies"), map(_as_ids, new), strict=True)))
        except WhagoError:
            self._asks = False  # the gateways go on without it, and so does the view
            return
        self._names |= {str(one): _printable(name) for one, name in found.items()}

    def __getitem__(self, one: str) -> str:
        return self._names.get(one, one)


def _printable(name: str) -> str:
    """People choose names, and a terminal obeys some characters."""
    return "".join(letter if letter.isprintable() else "·" for letter in name)


def _as_ids(texts: list[str]) -> list[UUID]:
    return [UUID(one) for one in texts]
