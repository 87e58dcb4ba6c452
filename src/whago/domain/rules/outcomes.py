"""How an attempt to deliver something ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EXCERPT_MAX_CHARS: Final = 500  # of what the receiver said: enough for an error message, too little for a page


@dataclass(frozen=True, slots=True)
class Told:
    """What is written into the log of deliveries: a short code, the receiver's status, and what it said."""

    reason: str
    status: int | None = None
    excerpt: str | None = None


@dataclass(frozen=True, slots=True)
class Sent(Told):
    """The receiver took it."""


@dataclass(frozen=True, slots=True)
class Failed(Told):
    """It did not arrive. ``again``: it may later. ``gone``: the receiver wants nothing more, ever.

    ``is_ours``: the fault is not the receiver's (our mail server is away), so the channel is not blamed.
    """

    again: bool = True
    gone: bool = False
    is_ours: bool = False
    retry_after_s: int | None = None


Outcome = Sent | Failed


def excerpt_of(raw: bytes) -> str | None:
    """Text that can be stored and shown, whatever came."""
    text = raw.decode("utf-8", "replace").replace("\0", "")
    return "".join(sign if sign.isprintable() else " " for sign in text).strip()[:EXCERPT_MAX_CHARS] or None
