"""Sticky sessions of the simulated vendor: one identifier, one exit IP, until something says otherwise."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final

from whago.simulator.dialect import StickyName
from whago.simulator.exits import ExitBook
from whago.simulator.ledger import Account, Counters

STICKIES_MAX: Final = 20_000  # remembered at once, about 1 KB each; then the longest unused one is forgotten
EVICTION_SCAN: Final = 100  # how many of the oldest are looked at before a new session is refused
PAST_EXITS_KEPT: Final = 20


class UnknownSticky(Exception):
    """No session of that name; or a bare id that several accounts use."""


class NoRoom(Exception):
    """All remembered sessions have running tunnels."""


@dataclass(slots=True)
class PastExit:
    """An exit IP that a session had, and why it lost it: drift, expired, country or duplicate."""

    exit_ip: str
    until: datetime
    reason: str


@dataclass(slots=True)
class Sticky:
    """One sticky session. ``name`` is ``account:id``; ``expires_at`` None means it stays until it is told to change."""

    account: Account
    id: str
    username: str
    country: str
    exit_ip: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime | None = None
    generation: int = 0
    open_tunnels: int = 0
    tunnels_total: int = 0
    counters: Counters = field(default_factory=Counters)
    past_exits: deque[PastExit] = field(default_factory=lambda: deque(maxlen=PAST_EXITS_KEPT))

    @property
    def name(self) -> str:
        """Unique over all accounts."""
        return f"{self.account.name}:{self.id}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; times are RFC 3339."""
        return {
            "id": self.id,
            "name": self.name,
            "account": self.account.name,
            "username": self.username,
            "country": self.country,
            "exit_ip": self.exit_ip,
            "created_at": self.created_at.isoformat(),
            "last_used_at": self.last_used_at.isoformat(),
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
            "open_tunnels": self.open_tunnels,
            "tunnels_total": self.tunnels_total,
            **self.counters.as_dict(),
            "past_exits": [
                {"exit_ip": past.exit_ip, "until": past.until.isoformat(), "reason": past.reason}
                for past in self.past_exits
            ],
        }


class StickyBook:
    """All sticky sessions, least recently used first, and the exits they hold. Synchronous; does no I/O."""

    def __init__(self, exits: ExitBook, default_country: str) -> None:
        self._exits = exits
        self._default_country = default_country
        self._by_name: OrderedDict[str, Sticky] = OrderedDict()
        self._rotating = 0

    def admit(self, account: Account, wanted: StickyName, username: str, now: datetime) -> Sticky:
        """The session that a username asks for, made at its first use. Raises NoExit and :class:`NoRoom`.

        A life that has run out, or another country under the same id, brings a new exit, as at the vendor.
        """
        sticky = self._by_name.get(f"{account.name}:{wanted.session}")
        if sticky is None:
            sticky = self._create(account, wanted, username, now)
        elif account.exit_ip is None:
            self._renew(sticky, wanted, now)
        self._by_name.move_to_end(sticky.name)
        sticky.last_used_at = now
        return sticky

    def open_tunnel(self, sticky: Sticky) -> str:
        """Begin a tunnel; returns the exit IP it uses, which it keeps even if the session drifts meanwhile."""
        sticky.open_tunnels += 1
        sticky.tunnels_total += 1
        self._exits.hold(sticky.exit_ip)
        return sticky.exit_ip

    def close_tunnel(self, sticky: Sticky, exit_ip: str) -> None:
        """End a tunnel that :meth:`open_tunnel` began."""
        sticky.open_tunnels -= 1
        self._exits.release(exit_ip)

    def dismiss_rotating(self, sticky: Sticky) -> None:
        """Forget a session that stood for one rotating connection."""
        if sticky.id.startswith("rotating-") and sticky.open_tunnels == 0:
            self._forget(sticky)

    def find(self, key: str) -> Sticky:
        """By full name, or by bare id where only one account uses it. Raises :class:`UnknownSticky`."""
        if key in self._by_name:
            return self._by_name[key]
        found = [sticky for sticky in self._by_name.values() if sticky.id == key]
        if len(found) != 1:
            raise UnknownSticky(f"{len(found)} sessions are called {key!r}")
        return found[0]

    def drift(self, key: str, now: datetime, country: str | None = None) -> Sticky:
        """Give a session a new exit IP without telling anybody. Raises :class:`UnknownSticky` and NoExit."""
        sticky = self.find(key)
        self._move(sticky, country or sticky.country, now, "drift")
        return sticky

    def duplicate(self, first: str, second: str, now: datetime) -> Sticky:
        """Give the second session the exit IP of the first. Raises :class:`UnknownSticky`."""
        model, copy = self.find(first), self.find(second)
        self._exits.hold(model.exit_ip)
        self._leave(copy, now, "duplicate")
        copy.exit_ip = model.exit_ip
        return copy

    def all(self) -> Iterable[Sticky]:
        """Every session, least recently used first."""
        return self._by_name.values()

    def __len__(self) -> int:
        return len(self._by_name)

    def _create(self, account: Account, wanted: StickyName, username: str, now: datetime) -> Sticky:
        self._make_room()
        country = wanted.country or self._default_country
        sticky = Sticky(
            account=account,
            id=wanted.session or self._rotating_id(),
            username=username,
            country=country,
            exit_ip="",
            created_at=now,
            last_used_at=now,
            expires_at=_expiry(wanted.life_minutes, now),
        )
        sticky.exit_ip = self._exit_for(sticky, country)
        self._by_name[sticky.name] = sticky
        return sticky

    def _exit_for(self, sticky: Sticky, country: str) -> str:
        if sticky.account.exit_ip is not None:
            self._exits.hold(sticky.account.exit_ip)
            return sticky.account.exit_ip
        return self._exits.allocate(country, f"{sticky.name}:{country}:{sticky.generation}")

    def _rotating_id(self) -> str:
        self._rotating += 1
        return f"rotating-{self._rotating}"  # the hyphen keeps it apart from every id that a customer can choose

    def _renew(self, sticky: Sticky, wanted: StickyName, now: datetime) -> None:
        if wanted.country and wanted.country != sticky.country:
            self._move(sticky, wanted.country, now, "country")
        elif sticky.expires_at and now >= sticky.expires_at:
            self._move(sticky, sticky.country, now, "expired")
        else:
            return
        sticky.expires_at = _expiry(wanted.life_minutes, now)

    def _move(self, sticky: Sticky, country: str, now: datetime, reason: str) -> None:
        sticky.generation += 1
        address = self._exits.allocate(country, f"{sticky.name}:{country}:{sticky.generation}")
        self._leave(sticky, now, reason)
        sticky.exit_ip, sticky.country = address, country

    def _leave(self, sticky: Sticky, now: datetime, reason: str) -> None:
        self._exits.release(sticky.exit_ip)
        sticky.past_exits.append(PastExit(sticky.exit_ip, now, reason))

    def _make_room(self) -> None:
        if len(self._by_name) < STICKIES_MAX:
            return
        for sticky in islice(self._by_name.values(), EVICTION_SCAN):
            if sticky.open_tunnels == 0:
                self._forget(sticky)
                return
        raise NoRoom

    def _forget(self, sticky: Sticky) -> None:
        self._exits.release(sticky.exit_ip)
        del self._by_name[sticky.name]


def _expiry(life_minutes: int | None, now: datetime) -> datetime | None:
    return now + timedelta(minutes=life_minutes) if life_minutes else None
