"""All that the simulated provider knows, and what may be done to it. Synchronous, no I/O, used from one thread."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from whago.simulator.dialect import ACCOUNT_NAME, BadUsername, IdRule, StickyName, parse_username
from whago.simulator.exits import COUNTRIES, EXIT_NETWORK, ExitBook, NoExit, static_address
from whago.simulator.ledger import FINE_SECONDS, Account, Counters
from whago.simulator.stickies import NoRoom, Sticky, StickyBook
from whago.simulator.switches import SwitchBoard, Switches
from whago.simulator.wire import Refusal

DEFAULT_ACCOUNT: Final = "demo:demo-password"
DEFAULT_APP_KEY: Final = "demo-app-key"
STATICS_MAX: Final = 1000  # each is a listening socket
NOT_ALLOW_LISTED_CODE: Final = 202  # the vendor's own number for "your IP is not on the allow list"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What is fixed while a provider runs. ``accounts`` are ``username:password`` pairs."""

    accounts: tuple[str, ...] = (DEFAULT_ACCOUNT,)
    country: str = "BR"
    id_rule: IdRule = field(default_factory=IdRule)
    statics: int = 0
    exit_network: str = EXIT_NETWORK
    app_key: str = DEFAULT_APP_KEY


@dataclass(slots=True)
class UsageSettings:
    """How the usage API lies. ``status`` set makes it answer that HTTP status and nothing else."""

    lag_s: int = 0
    overbill_percent: Decimal = Decimal(0)
    bytes_per_kb: int = 1024
    status: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.lag_s <= FINE_SECONDS:
            raise ValueError(f"lag_s is 0 to {FINE_SECONDS} seconds")
        if not (self.overbill_percent.is_finite() and -100 <= self.overbill_percent <= 1000):
            raise ValueError("overbill_percent is -100 to 1000")
        if self.bytes_per_kb not in (1000, 1024):
            raise ValueError("bytes_per_kb is 1000 or 1024")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError("status is 400 to 599")


@dataclass(slots=True)
class ProviderState:
    """Accounts, sessions, exits, switches and counts of one provider."""

    settings: ProviderSettings
    now: Callable[[], datetime]
    usage: UsageSettings = field(default_factory=UsageSettings)
    board: SwitchBoard = field(default_factory=SwitchBoard)
    unattributed: Counters = field(default_factory=Counters)  # bytes of clients that named no session of ours
    outcomes: Counter[str] = field(default_factory=Counter)  # tunnels by how their request ended: granted, 407, …
    accounts: dict[str, Account] = field(init=False)
    statics: dict[str, Account] = field(init=False)  # by the address it listens on and leaves from
    exits: ExitBook = field(init=False)
    stickies: StickyBook = field(init=False)

    def __post_init__(self) -> None:
        if self.settings.country not in COUNTRIES:
            raise ValueError(f"country {self.settings.country!r} is none of {', '.join(COUNTRIES)}")
        if not 0 <= self.settings.statics <= STATICS_MAX:
            raise ValueError(f"at most {STATICS_MAX} static proxies")
        self.accounts = {account.name: account for account in map(_account, self.settings.accounts)}
        self.statics = {account.exit_ip or "": account for account in map(_static, range(self.settings.statics))}
        self.exits = ExitBook(self.settings.exit_network)
        self.stickies = StickyBook(self.exits, self.settings.country)

    def admit(self, username: str, password: str, local_ip: str) -> Sticky:
        """Check a credential and find its sticky session. Raises :class:`Refusal`."""
        account, wanted = self._identify(username, local_ip)
        if not hmac.compare_digest(password.encode(), account.password.encode()):
            raise Refusal(407, "wrong username or password")
        try:
            return self.stickies.admit(account, wanted, username, self.now())
        except NoExit as none_there:
            raise Refusal(525, f"no exit available in {none_there}") from none_there
        except NoRoom:
            raise Refusal(503, "too many sessions") from None

    def switches_for(self, sticky: Sticky) -> Switches:
        """The failure switches that hold for a session now."""
        return self.board.effective(sticky.account.name, sticky.name)

    def static_list(self, port: int) -> list[str]:
        """The static proxies as ``host:port:user:pass`` lines, ready to paste."""
        return [f"{ip}:{port}:{account.name}:{account.password}" for ip, account in self.statics.items()]

    def snapshot(self) -> dict[str, Any]:
        """Totals, accounts, switches, usage settings, for JSON; no password in it."""
        totals = Counters()
        everyone = [*self.accounts.values(), *self.statics.values()]
        for account in everyone:
            totals.add(account.counters)
        return {
            "now": self.now().isoformat(),
            "totals": totals.as_dict(),
            "unattributed": self.unattributed.as_dict(),
            "accounts": {account.name: account.counters.as_dict() for account in everyone},
            "sessions": len(self.stickies),
            "open_tunnels": sum(sticky.open_tunnels for sticky in self.stickies.all()),
            "outcomes": dict(self.outcomes),
            "switches": self.board.as_dict(),
            "usage_settings": {
                "lag_s": self.usage.lag_s,
                "overbill_percent": str(self.usage.overbill_percent),
                "bytes_per_kb": self.usage.bytes_per_kb,
                "status": self.usage.status,
            },
        }

    def _identify(self, username: str, local_ip: str) -> tuple[Account, StickyName]:
        static = self.statics.get(local_ip)
        if static is not None:
            if username != static.name:
                raise Refusal(407, "wrong username or password")
            return static, StickyName(static.name, session="static")
        try:
            wanted = parse_username(username, self.accounts, self.settings.id_rule)
        except BadUsername as bad:
            raise Refusal(407, str(bad)) from bad
        return self.accounts[wanted.account], wanted


def _account(pair: str) -> Account:
    name, colon, password = pair.partition(":")
    if not (colon and password and ACCOUNT_NAME.fullmatch(name)):
        raise ValueError("an account is username:password, the username of letters, digits, dot, hyphen, underscore")
    return Account.open(name, password)


def _static(number: int) -> Account:
    return Account.open(f"static{number + 1}", f"static-password-{number + 1}", static_address(number))
