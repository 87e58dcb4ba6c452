"""Identifiers and random secrets: the only place that draws them."""

from __future__ import annotations

import base64
import hashlib
import secrets
from uuid import UUID, uuid4

ID_BYTES = 16
_RANDOM_BITS = ~(0xF << 76 | 0b11 << 62)  # RFC 9562 section 5.4: all but the version and the variant
_VERSION_4 = 4 << 76 | 0b10 << 62
TOKEN_BYTES = 32  # 256 bits: an online or offline guess is out of reach, so a plain SHA-256 is enough to store it
CODE_CHARS = 10
CODE_SIGNS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # without 0, 1, O and I
TOTP_SECRET_BYTES = 20  # what RFC 4226 section 4 recommends
RECOVERY_GROUPS = 5  # of five signs: 125 bits, more than the 112 from which a plain hash may store it (ASVS 6.5.2)


def new_id() -> UUID:
    """A random identifier (UUID version 4, RFC 9562)."""
    return uuid4()


def new_id_numbers(count: int) -> list[int]:
    """As many random identifiers as the integers of ``UUID.int``: thousands for the price of a few ``UUID`` objects."""
    drawn = secrets.token_bytes(ID_BYTES * count)
    places = range(0, len(drawn), ID_BYTES)
    return [int.from_bytes(drawn[at : at + ID_BYTES], "big") & _RANDOM_BITS | _VERSION_4 for at in places]


def new_token() -> str:
    """A random URL-safe secret of 256 bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_code() -> str:
    """A random code that people type: ten signs that nobody mistakes for another, 50 bits."""
    return "".join(secrets.choice(CODE_SIGNS) for _ in range(CODE_CHARS))


def new_totp_secret() -> str:
    """A random secret of 160 bits for an authenticator app, in base32."""
    return base64.b32encode(secrets.token_bytes(TOTP_SECRET_BYTES)).decode()


def new_recovery_code() -> str:
    """A random code to keep on paper: five groups of five signs."""
    groups = range(RECOVERY_GROUPS)
    return "-".join("".join(secrets.choice(CODE_SIGNS) for _ in range(RECOVERY_GROUPS)) for _ in groups)


def token_hash(token: str) -> bytes:
    """What is stored of a random secret: its SHA-256, 32 bytes. Not for passwords that people choose."""
    return hashlib.sha256(token.encode()).digest()
