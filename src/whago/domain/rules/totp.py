"""Codes of an authenticator app: TOTP (RFC 6238) with SHA-1, six digits and steps of thirty seconds, as apps have it.

A code is good in its own step and the ones beside it (RFC 6238 section 5.2), and never again after it, or a later one,
was used.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from typing import Final

from pyotp import TOTP

PERIOD_S: Final = 30
DRIFT_STEPS: Final = 1  # a phone's clock that is off by less than half a minute
DIGITS: Final = 6
ISSUER: Final = "WHAGO"
NEVER: Final = -1  # the step before any code was used

_CODE: Final = re.compile(r"[0-9]{6}")
_BLANKS: Final = re.compile(r"[\s-]+")


def typed(text: str) -> str:
    """A code as people type it, without the blanks and hyphens that make it readable, in capitals."""
    return _BLANKS.sub("", text).upper()


def step_at(now: datetime) -> int:
    """The number of the step that runs at this moment."""
    return int(now.timestamp()) // PERIOD_S


def code_at(secret: str, step: int) -> str:
    """The six digits of one step. ``secret``: base32."""
    return TOTP(secret, digits=DIGITS, interval=PERIOD_S).generate_otp(step)


def accepted_step(secret: str, code: str, *, now: datetime, last_step: int) -> int | None:
    """The step whose code this is, None when it is no good. ``last_step``: the one used last.

    Every candidate is compared in full, so that time tells nothing about how near a guess was.
    """
    current = step_at(now)
    candidates = range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1)
    if _CODE.fullmatch(code) is None:
        return None
    fitting = [step for step in candidates if hmac.compare_digest(code_at(secret, step), code) and step > last_step]
    return fitting[0] if fitting else None


def provisioning_uri(secret: str, account: str) -> str:
    """What the QR code says (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
    return TOTP(secret, digits=DIGITS, interval=PERIOD_S).provisioning_uri(name=account, issuer_name=ISSUER)
