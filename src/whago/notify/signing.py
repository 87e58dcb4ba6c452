"""Signatures of webhooks: ``t=<unix seconds>,v1=<hex>``, the scheme that Stripe made common.

v1 is HMAC-SHA256 over ``<t>.<body>`` with the channel's secret (RFC 2104). The time is inside, so that a recorded
request cannot be replayed later. While a secret is being renewed there are two v1, one for each.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Final

HEADER: Final = "X-Whago-Signature"
TOLERANCE_S: Final = 300  # what docs/webhooks.md tells receivers to allow clocks to differ


def signature(secrets: Sequence[str], body: bytes, at: datetime) -> str:
    """The header's value."""
    stamp = int(at.timestamp())
    return ",".join([f"t={stamp}", *(f"v1={_mac(secret, stamp, body)}" for secret in secrets)])


def is_signed(secret: str, body: bytes, header: str, now: datetime, *, tolerance_s: int = TOLERANCE_S) -> bool:
    """What a receiver does: the example of docs/webhooks.md."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    stamps = [value for name, value in parts if name == "t" and value.isdigit()]
    if len(stamps) != 1 or abs(now.timestamp() - int(stamps[0])) > tolerance_s:
        return False
    expected = _mac(secret, int(stamps[0]), body)
    return any(hmac.compare_digest(expected, value) for name, value in parts if name == "v1")


def _mac(secret: str, stamp: int, body: bytes) -> str:
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
