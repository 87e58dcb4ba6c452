"""Passwords that people choose: Argon2id (RFC 9106) with the parameters of OWASP's cheat sheet (19 MiB, 2 passes)."""

from __future__ import annotations

from threading import BoundedSemaphore
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MEMORY_KIB: Final = 19_456
PASSES: Final = 2
LANES: Final = 1
AT_ONCE: Final = 4  # hashes in parallel: a burst of logins must not take the machine's memory and processors

_hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)
_places = BoundedSemaphore(AT_ONCE)
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
