"""Passwords that people choose: Argon2id (RFC 9106) with the parameters of OWASP's cheat sheet (19 MiB, 2 passes)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from whago.errors import WhagoError

MEMORY_KIB: Final = 19_456
PASSES: Final = 2
LANES: Final = 1
COMMON: Final = Path(__file__).with_name("common_passwords.txt")
AT_ONCE: Final = 4  # hashes in parallel: a burst of logins must not take the machine's memory and processors
WAITING_MAX: Final = 16  # for such a place, each in a thread of the web that others need as well


class Places:
    """A context manager for ``count`` at once. Raises WhagoError("overloaded") when ``waiting`` wait already."""

    def __init__(self, count: int, waiting: int) -> None:
        self.room = count + waiting
        self._lock = Lock()
        self._places = BoundedSemaphore(count)

    def __enter__(self) -> None:
        with self._lock:
            if not self.room:
                raise WhagoError("overloaded")
            self.room -= 1
        self._places.acquire()

    def __exit__(self, *_: object) -> None:
        self._places.release()
        with self._lock:
            self.room += 1


_hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
_places = Places(AT_ONCE, WAITING_MAX)
_nobody = _hasher.hash("the password of nobody")


def hash_password(password: str) -> str:
    """What is stored of a password, with its salt and parameters."""
    with _places:
        return _hasher.hash(password)


def check_password(stored: str | None, password: str) -> bool:
    """Whether it is the one. Without an account (None) the same work is done, so that time tells nothing."""
    with _places:
        try:
            return _hasher.verify(stored or _nobody, password) and stored is not None
        except (VerificationError, InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether the stored hash was made with other parameters than today's."""
    return _hasher.check_needs_rehash(stored)


def is_common(password: str) -> bool:
    """Whether it is one of the 8,000 that are guessed first, in whatever case (NIST SP 800-63B section 3.1.1.2)."""
    return password.lower() in _common_passwords()


@cache
def _common_passwords() -> frozenset[str]:
    return frozenset(line for line in COMMON.read_text().splitlines() if not line.startswith("# "))
