"""Identifiers and random secrets: the only place that draws them."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID, uuid4

TOKEN_BYTES = 32  # 256 bits: an online or offline guess is out of reach, so a plain SHA-256 is enough to store it
CODE_CHARS = 10
CODE_SIGNS = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"  # without 0, 1, O and I


def new_id() -> UUID:
    """A random identifier (UUID version 4, RFC 9562)."""
    return uuid4()


def new_token() -> str:
    """A random URL-safe secret of 256 bits."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def new_code() -> str:
    """A random code that people type: ten signs that nobody mistakes for another, 50 bits."""
    return "".join(secrets.choice(CODE_SIGNS) for _ in range(CODE_CHARS))


def token_hash(token: str) -> bytes:
    """What is stored of a random secret: its SHA-256, 32 bytes. Not for passwords that people choose."""
    return hashlib.sha256(token.encode()).digest()
