"""The lease book: how many bytes this boot may still forward, per user and billing month.

Synchronous and without I/O: it decides what to ask for, and resumes or closes who waits. Leases are cumulative (see
``control``): ``ceiling`` is what this boot may have used in all, ``spent`` what it has; a byte is taken from ``left``
before it is forwarded, or in the same step, so nothing goes past the ceiling. All times are monotonic seconds.

An account is *held* (left reads 0) while its lease is not to be used: it lapsed, or it is being given back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date
from typing import Final, Protocol
from uuid import UUID

from whago.gateway.control import Exhausted, Grant, LeaseAnswer, Wait

MIN_LEASE_BYTES: Final = 1024 * 1024  # a quiet chip lives on it for days, so its tunnel asks once
MAX_LEASE_BYTES: Final = 1024 * 1024 * 1024  # at 4 GB/s a quarter of a second, half of it left at the next question
LEASE_AHEAD_S: Final = 60.0  # at the present rate: tunnels go on for that long without a control plane
LEASE_LINGER_S: Final = 3.0  # kept after a user's last tunnel: engines reconnect at once
ANSWER_FRESH_S: Final = 5.0  # "no" is asked again after this long, even if no change was told
RETRY_S: Final = 0.5  # between questions to a control plane that does not answer
SLOW_START: Final = 4  # while tunnels starve, each lease is this many times the last one
ENOUGH_FOR_HANDSHAKE: Final = 2 * 1024  # CONNECT with a long credential, and the upstream's head

UNLIMITED: Final = 1 << 62
_NEVER: Final = float("inf")


class Spender(Protocol):
    """A tunnel, or whoever waits for a lease."""

    def lease_ready(self) -> None:
        """There is something left again."""
        ...

    def lease_refused(self, reason: str) -> None:
        """There will be nothing more."""
        ...


class Account:
    """One user's lease for one month. ``left`` and ``low`` are read and written by the tunnels as bytes move."""

    __slots__ = (
        "admits", "answered_at", "asked_at", "asked_spent", "asking", "ceiling", "exhausted", "granted_at", "held",
        "idle_since", "left", "low", "month", "recalled", "releasing", "retry_at", "starved", "tunnels", "user_id",
        "valid_s", "want",
    )  # fmt: skip

    def __init__(self, user_id: UUID, month: date) -> None:
        self.user_id = user_id
        self.month = month
        self.ceiling = 0
        self.left = 0
        self.held: int | None = 0  # a new account has nothing to use before the first answer
        self.low = -1  # ask ahead below it; -1: do not
        self.want = MIN_LEASE_BYTES
        self.admits = False
        self.exhausted = False
        self.asking = False
        self.recalled = False
        self.releasing = False
        self.retry_at = 0.0
        self.answered_at = -_NEVER
        self.granted_at = -_NEVER
        self.valid_s = 0.0
        self.asked_at = 0.0
        self.asked_spent = 0
        self.idle_since = -_NEVER
        self.tunnels: dict[Spender, None] = {}
        self.starved: dict[Spender, None] = {}

    @property
    def spent(self) -> int:
        """Bytes of this boot, user and month so far."""
        return self.ceiling - self.left - (self.held or 0)

    @property
    def unused(self) -> int:
        """Bytes that were leased and not spent, whether they may be used now or not."""
        return self.left + (self.held or 0)

    def hold(self) -> None:
        if self.held is None:
            self.held, self.left = self.left, 0

    def raise_ceiling(self, ceiling: int) -> None:
        """Set what may be used in all, and let it be used. It may also be lower than before."""
        self.left = ceiling - self.spent
        self.held = None
        self.ceiling = ceiling


class LeaseBook:
    """``on_hungry`` is called, from wherever bytes move, with an account that must be asked for.

    ``on_look`` is called with one whose tunnels are silent after a recall: it asks for nothing, or the gateways would
    take the last bytes from one another in turn, but somebody should soon look whether the month is over.
    """

    def __init__(self, on_hungry: Callable[[Account], None], on_look: Callable[[Account], None]) -> None:
        self._on_hungry = on_hungry
        self._on_look = on_look
        self._accounts: dict[tuple[int, date], Account] = {}  # kept for the boot's life: ``spent`` is cumulative
        self._of_user: dict[UUID, list[Account]] = {}
        self._idle: dict[Account, None] = {}
        self._recalled: dict[Account, None] = {}
        self._renewed_at = -_NEVER
        self.shortest_valid_s = _NEVER  # of all grants so far
        self.alarm = _NEVER  # when the first lease may lapse
        self.waits = 0

    def account(self, user_id: UUID, month: date) -> Account:
        key = (user_id.int, month)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(user_id, month)
            self._of_user.setdefault(user_id, []).append(account)
        return account

    def of_user(self, user_id: UUID | None) -> list[Account]:
        """None: of every user."""
        return list(self._accounts.values()) if user_id is None else self._of_user.get(user_id, [])

    def enter(self, account: Account, tunnel: Spender) -> None:
        account.tunnels[tunnel] = None
        self._idle.pop(account, None)

    def leave(self, account: Account, tunnel: Spender, now: float) -> None:
        account.tunnels.pop(tunnel, None)
        account.starved.pop(tunnel, None)
        if not account.tunnels:
            account.idle_since = now
            self._idle[account] = None

    def take_over(self, account: Account, tunnel: Spender, successor: Spender) -> None:
        """``successor`` in the place of ``tunnel``: the account is not idle in between."""
        account.tunnels[successor] = None
        account.tunnels.pop(tunnel, None)
        account.starved.pop(tunnel, None)

    def starve(self, account: Account, spender: Spender) -> None:
        """Nothing is left: wait until more was granted, or hear that there is none."""
        if spender not in account.starved:
            self.waits += 1
            account.starved[spender] = None
        self.hunger(account)

    def hunger(self, account: Account) -> None:
        """Ask for more, unless that is being done, or cannot be done now."""
        account.low = -1
        if not account.asking and not account.releasing and not account.recalled:
            self._on_hungry(account)

    def verdict(self, account: Account, now: float) -> str | None:
        """May a new tunnel start? "" yes, a refusal's reason, or None: ask first."""
        if account.exhausted or not account.admits:
            return "quota_exhausted" if now - account.answered_at < ANSWER_FRESH_S else None
        return "" if account.left >= ENOUGH_FOR_HANDSHAKE else None

    def begin(self, account: Account, now: float, look: bool = False) -> int:
        """A question starts: how many bytes to ask for, from the rate since the last one; 0 only to look."""
        elapsed = max(now - account.asked_at, 0.001)
        rate = (account.spent - account.asked_spent) / elapsed
        want = int(rate * LEASE_AHEAD_S)
        if account.starved and elapsed < LEASE_AHEAD_S:
            want = max(want, account.want * SLOW_START)
        account.want = min(max(want, MIN_LEASE_BYTES), MAX_LEASE_BYTES)
        account.asking = True
        account.asked_at = now
        account.asked_spent = account.spent
        account.low = -1
        return 0 if look and not account.starved else account.want

    def answer(self, account: Account, answer: LeaseAnswer, sent_at: float, now: float) -> None:
        """What the control plane said to a question sent at ``sent_at``. Resumes or closes who waited for it."""
        account.asking = False
        account.answered_at = now
        match answer:
            case Grant():
                self._grant(account, answer, sent_at)
            case Wait(retry_s):
                account.exhausted = False
                account.retry_at = now + retry_s
            case Exhausted():
                if account.recalled:  # the question is older than the change that called the lease back
                    account.answered_at = -_NEVER
                else:
                    self._exhaust(account)

    def unanswered(self, account: Account, now: float) -> None:
        """The control plane did not answer: what is held stays usable until it lapses."""
        account.asking = False
        account.retry_at = now + RETRY_S

    def needs_asking(self, account: Account) -> bool:
        """Whether a delayed question is still wanted."""
        ahead = account.tunnels and account.left > 0 and account.low < 0 and not account.exhausted
        return not account.asking and bool(account.starved or ahead)

    def needs_look(self, account: Account) -> bool:
        """Whether a delayed look is still wanted."""
        quiet = account.tunnels and not account.starved and account.left == 0
        return bool(quiet) and not (account.asking or account.releasing or account.recalled)

    def recall(self, accounts: Iterable[Account]) -> None:
        """Give back what is unused with the next report, then ask again if it is needed."""
        for account in accounts:
            account.exhausted = False
            account.answered_at = -_NEVER
            if account.asking or account.unused:
                account.recalled = True
                self._recalled[account] = None
            else:
                self._go_on(account)

    def doubt(self) -> None:
        """A change may have been missed: ask again before the next refusal or admission."""
        for account in self._accounts.values():
            account.answered_at = -_NEVER
            if account.exhausted and account.starved:
                self.hunger(account)

    def take_releases(self, now: float) -> list[Account]:
        """Accounts to give back with the report that is about to be made. They are held until it is committed.

        An account with a question on its way is left for the next report, because the answer could otherwise be older
        than the release and count what was given back as held.
        """
        idle = [account for account in self._idle if now - account.idle_since >= LEASE_LINGER_S]
        chosen = [account for account in {**self._recalled, **dict.fromkeys(idle)} if not account.asking]
        for account in chosen:
            self._recalled.pop(account, None)
            self._idle.pop(account, None)
        return _held_for_release(account for account in chosen if account.unused or account.recalled)

    def take_all(self) -> list[Account]:
        """At the stop: every account that holds anything."""
        return _held_for_release(
            account for account in self._accounts.values() if account.unused and not account.releasing
        )

    def unused_accounts(self) -> bool:
        """Whether anything is leased and not given back."""
        return any(account.unused for account in self._accounts.values())

    def released(self, accounts: Iterable[Account]) -> None:
        """The report that gave them back is committed."""
        for account in accounts:
            account.ceiling = account.spent
            account.held = 0
            account.releasing = account.recalled = False
            account.admits = False
            account.answered_at = -_NEVER
            self._go_on(account)

    def renewed(self, sent_at: float) -> None:
        """A report sent at ``sent_at`` is committed: every lease of this boot is valid for its time from then on."""
        self._renewed_at = max(self._renewed_at, sent_at)
        self.alarm = max(self.alarm, self._renewed_at + self.shortest_valid_s)

    def lapse(self, now: float) -> None:
        """Hold every lease whose time is over, and set the next alarm."""
        self.alarm = _NEVER
        for account in self._accounts.values():
            if account.held is not None:
                continue
            end = max(account.granted_at, self._renewed_at) + account.valid_s
            if end > now:
                self.alarm = min(self.alarm, end)
                continue
            account.hold()
            account.admits = False
            account.answered_at = -_NEVER

    def _go_on(self, account: Account) -> None:
        """After a recall: ask again if bytes are waiting."""
        if account.starved:
            self.hunger(account)
        elif account.tunnels:
            self._on_look(account)

    def _grant(self, account: Account, grant: Grant, sent_at: float) -> None:
        account.exhausted = False
        account.admits = grant.admits
        account.granted_at = sent_at
        account.valid_s = grant.valid_s
        self.shortest_valid_s = min(self.shortest_valid_s, grant.valid_s)
        account.raise_ceiling(UNLIMITED if grant.granted_bytes is None else grant.granted_bytes)
        account.low = 0 if grant.granted_bytes is None else account.left // 2
        self.alarm = min(self.alarm, sent_at + grant.valid_s)
        if account.left > 0:
            _resume(account)
        elif account.starved:
            account.retry_at = sent_at + RETRY_S

    def _exhaust(self, account: Account) -> None:
        """Nothing more will come. What is left of our own lease may still be used; then the tunnels end."""
        account.exhausted = True
        account.admits = False
        if account.left > 0:
            _refuse(account, [spender for spender in account.starved if spender not in account.tunnels])
        else:
            _refuse(account, [*account.starved, *account.tunnels])


def _held_for_release(accounts: Iterable[Account]) -> list[Account]:
    chosen = list(accounts)
    for account in chosen:
        account.hold()
        account.releasing = True
    return chosen


def _resume(account: Account) -> None:
    waiting, account.starved = account.starved, {}
    for spender in waiting:
        spender.lease_ready()


def _refuse(account: Account, spenders: list[Spender]) -> None:
    for spender in dict.fromkeys(spenders):
        account.starved.pop(spender, None)
        spender.lease_refused("quota_exhausted")
