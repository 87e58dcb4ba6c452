"""Sticky identifiers: the logical one of a chip, and the token that a provider's dialect can carry.

The token is a number of 8 digits: it fits the charset and length of every provider that we know (a longer original made
usernames of 89 characters, which proxies refused). It is derived, so that it can be checked, and unique per provider.
"""

from __future__ import annotations

import hashlib
from uuid import UUID

TOKEN_FLOOR = 10_000_000
TOKEN_SPAN = 90_000_000
TOKEN_ATTEMPTS = 64  # with a million live tokens a collision has p ≈ 1 %; 64 in a row do not happen


def logical_identifier(chip_id: UUID, generation: int) -> str:
    """``chip-{uuid}``, and ``chip-{uuid}-{n}`` after the n-th recorded change."""
    return f"chip-{chip_id}" if generation == 0 else f"chip-{chip_id}-{generation}"


def provider_token(identifier: str, attempt: int = 0) -> str:
    """Eight digits, the first not 0. ``attempt`` gives the next candidate when one is taken."""
    digest = hashlib.sha256(f"{identifier}#{attempt}".encode()).digest()
    return str(TOKEN_FLOOR + int.from_bytes(digest[:8], "big") % TOKEN_SPAN)
