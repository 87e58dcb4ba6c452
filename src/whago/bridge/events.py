"""Reads the events that the bridge posts: first whether they are its own, then what they say.

The signature is ``v1=`` and the hex HMAC-SHA256 of ``<timestamp>.<body>`` under the bridge's secret. A repeated event
is signed anew, so an old timestamp is never an honest one.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from whago.bridge.wire import BridgeChip, BridgeEvent, BridgePairing
from whago.errors import InvalidInput, WhagoError

TIMESTAMP_HEADER: Final = "X-Whago-Timestamp"
SIGNATURE_HEADER: Final = "X-Whago-Signature"

# What clocks of two machines may differ by; a recorded event is of no use after that.
MAX_SKEW_S: Final = 300

_OBJECT: Final = TypeAdapter(dict[str, Any])


def read_event(
    secret: str, authorization: str | None, timestamp: str | None, signature: str | None, body: bytes, now: datetime
) -> BridgeEvent:
    """Check bearer, timestamp (Unix seconds) and signature, then parse.

    Raises ``WhagoError("not_authenticated")`` for what the bridge did not sign just now, ``InvalidInput`` for what is
    signed but no event.
    """
    genuine = (
        _same(authorization or "", f"Bearer {secret}")
        and _is_recent(timestamp or "", now)
        and _same(signature or "", _signature(secret, timestamp or "", body))
    )
    if not genuine:
        raise WhagoError("not_authenticated")
    return _parse(body)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())


def _is_recent(timestamp: str, now: datetime) -> bool:
    return timestamp.isascii() and timestamp.isdigit() and abs(now.timestamp() - int(timestamp)) <= MAX_SKEW_S


def _signature(secret: str, timestamp: str, body: bytes) -> str:
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _parse(body: bytes) -> BridgeEvent:
    try:
        event = _OBJECT.validate_json(body)
        told = _OBJECT.validate_python(event.get("data"))
        pairing = BridgePairing.model_validate(told) if event.get("kind") == "session.qr" else None
        return BridgeEvent.model_validate({**event, "chip": BridgeChip.model_validate(told), "pairing": pairing})
    except ValidationError as error:
        raise InvalidInput(body="This is not an event of the bridge.") from error
