"""HTTP Basic credentials (RFC 7617), both ways."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

SCHEME: Final = b"basic"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def encode_basic(username: str, password: str) -> bytes:
    """The field value. Raises ValueError for a name with a colon or for control characters (RFC 7617 section 2)."""
    if ":" in username or _CONTROL.search(username) or _CONTROL.search(password):
        raise ValueError("a Basic credential has no colon in its name and no control characters")
    return b"Basic " + base64.b64encode(f"{username}:{password}".encode())


def decode_basic(value: bytes) -> tuple[str, str] | None:
    """Name and password, or None when the value is not a Basic credential."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != SCHEME:
        return None
    try:
        name, colon, password = base64.b64decode(encoded.strip(b" "), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
