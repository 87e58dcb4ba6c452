"""How often somebody may try: logins by account and address, registrations by address.

The counts live in the broker, for all web processes. While it is away each process counts alone: weaker, never open.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar
from uuid import UUID

import structlog
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter

from whago.errors import WhagoError
from whago.kit.broker import tls_options, without_tls

log = structlog.get_logger()

Answer = TypeVar("Answer")

# Ten guesses in five minutes are 2,880 a day: hopeless against eight characters, and enough for clumsy fingers.
ACCOUNT_FROM_ADDRESS: Final = RateLimitItemPerMinute(10, 5, namespace="login-account-address")
# From anywhere: a little more, so that one attacker alone cannot lock the owner out.
ACCOUNT: Final = RateLimitItemPerMinute(40, 5, namespace="login-account")
# Failures of one address over all accounts: an office behind one address stays far below it.
ADDRESS: Final = RateLimitItemPerMinute(300, 15, namespace="login-address")
REGISTRATIONS: Final = RateLimitItemPerMinute(300, 60, namespace="register-address")
# Letters to one account: enough for somebody who does not find the first, too few to fill a mailbox with.
RESETS: Final = RateLimitItemPerMinute(5, 60, namespace="reset-account")
RESETS_FROM_ADDRESS: Final = RateLimitItemPerMinute(60, 60, namespace="reset-address")
# Links tried from one address. They have 256 bits, so this only keeps noise away.
LINKS_FROM_ADDRESS: Final = RateLimitItemPerMinute(60, 15, namespace="reset-link-address")
# Codes of an authenticator app for one account, whose password was right. Three of a million are good at a time: twenty
# guesses a day find one in forty-five years.
CODES: Final = RateLimitItemPerMinute(5, 5, namespace="second-factor")
CODES_OF_A_DAY: Final = RateLimitItemPerDay(20, namespace="second-factor-day")
BROKER_TIMEOUT_S: Final = 2.0


class Attempts:
    """Raises WhagoError("too_many_attempts") with ``retry_after_s``."""

    def __init__(self, broker_url: str | None) -> None:
        self._alone = MovingWindowRateLimiter(MemoryStorage())
        self._shared = self._alone if broker_url is None else _shared_limiter(broker_url)

    def before_login(self, email: str, address: str) -> None:
        """Call before a password is looked at: the account's counts go up at once, so that a burst gains nothing."""
        if not self._ask(lambda limiter: limiter.test(ADDRESS, address)):
            raise self._refusal(ADDRESS, address)
        for limit, key in ((ACCOUNT_FROM_ADDRESS, f"{email}|{address}"), (ACCOUNT, email)):
            if not self._ask(lambda limiter, limit=limit, key=key: limiter.hit(limit, key)):  # type: ignore[misc]
                raise self._refusal(limit, key)

    def login_failed(self, address: str) -> None:
        self._ask(lambda limiter: limiter.hit(ADDRESS, address))

    def login_succeeded(self, email: str, address: str) -> None:
        self._ask(lambda limiter: limiter.clear(ACCOUNT_FROM_ADDRESS, f"{email}|{address}"))
        self._ask(lambda limiter: limiter.clear(ACCOUNT, email))

    def before_code(self, user_id: UUID) -> None:
        """Call before a code of a second factor is looked at, wherever it is asked for."""
        for limit in (CODES, CODES_OF_A_DAY):
            if not self._ask(lambda limiter, limit=limit: limiter.hit(limit, str(user_id))):  # type: ignore[misc]
                raise self._refusal(limit, str(user_id))

    def code_accepted(self, user_id: UUID) -> None:
        self._ask(lambda limiter: limiter.clear(CODES, str(user_id)))
        self._ask(lambda limiter: limiter.clear(CODES_OF_A_DAY, str(user_id)))

    def before_registration(self, address: str) -> None:
        if not self._ask(lambda limiter: limiter.hit(REGISTRATIONS, address)):
            raise self._refusal(REGISTRATIONS, address)

    def before_reset(self, email: str, address: str) -> None:
        """Counts by the address that was typed, whoever has it: a refusal tells nothing about accounts."""
        for limit, key in ((RESETS_FROM_ADDRESS, address), (RESETS, email)):
            if not self._ask(lambda limiter, limit=limit, key=key: limiter.hit(limit, key)):  # type: ignore[misc]
                raise self._refusal(limit, key)

    def before_link(self, address: str) -> None:
        if not self._ask(lambda limiter: limiter.hit(LINKS_FROM_ADDRESS, address)):
            raise self._refusal(LINKS_FROM_ADDRESS, address)

    def broker_answers(self) -> bool:
        """Whether the shared counts can be reached; True when none were configured."""
        try:
            return self._shared is self._alone or bool(self._shared.storage.check())
        except StorageError:
            return False

    def _refusal(self, limit: RateLimitItem, key: str) -> WhagoError:
        reset = self._ask(lambda limiter: limiter.get_window_stats(limit, key)).reset_time
        return WhagoError("too_many_attempts", retry_after_s=max(1, round(reset - time.time())))

    def _ask(self, question: Callable[[MovingWindowRateLimiter], Answer]) -> Answer:
        try:
            return question(self._shared)
        except StorageError as error:
            log.warning("attempts.broker_unavailable", error=type(error.storage_error).__name__)
            return question(self._alone)


def _shared_limiter(url: str) -> MovingWindowRateLimiter:
    options: dict[str, Any] = {"socket_timeout": BROKER_TIMEOUT_S, "socket_connect_timeout": BROKER_TIMEOUT_S}
    options |= tls_options(url) or {}
    return MovingWindowRateLimiter(storage_from_string(without_tls(url), wrap_exceptions=True, **options))
