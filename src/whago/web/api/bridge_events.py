"""What the WhatsApp bridge tells of its sessions: signed, in order for each chip, at least once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, Request

from whago.bridge.events import SIGNATURE_HEADER, TIMESTAMP_HEADER, read_event
from whago.bridge.wire import BridgeEvent, EventKind
from whago.domain.actions.chips import set_chip_status
from whago.domain.models import ChipStatus
from whago.errors import InvalidInput, WhagoError
from whago.web.deps import Now
from whago.web.parts import parts_of

log = structlog.get_logger()

REASON_MAX_CHARS: Final = 60
PHONE_MAX_CHARS: Final = 20
SEQ_MAX: Final = 2**53  # what JavaScript counts exactly
TIMESTAMP_MAX_CHARS: Final = 12  # seconds, for the next thirty thousand years

STATUSES: Final[Mapping[EventKind, ChipStatus]] = {
    "session.connecting": ChipStatus.CONNECTING,
    "session.qr": ChipStatus.WAITING_QR,
    "session.open": ChipStatus.CONNECTED,
    "session.backoff": ChipStatus.CONNECTING,
    "session.closed": ChipStatus.DISCONNECTED,
    "session.proxy_blocked": ChipStatus.ERROR,
    "session.logged_out": ChipStatus.LOGGED_OUT,
    "session.replaced": ChipStatus.DISCONNECTED,
}
REFUSED_BY_GATEWAY: Final[Mapping[str, ChipStatus]] = {
    "quota_exhausted": ChipStatus.BLOCKED_QUOTA,
    "no_healthy_proxy": ChipStatus.WAITING_PROXY,
}
REFUSED_BY_WHATSAPP: Final[Mapping[str, ChipStatus]] = dict.fromkeys(
    (
        "temporarily_banned",
        "forbidden",
        "client_outdated",
        "account_refused",
        "multi_device_missing",
        "auth_unreadable",
    ),
    ChipStatus.ERROR,
)
# What a reason makes of a kind of event; while the bridge tries again the status stays what the last try showed.
BY_REASON: Final[Mapping[EventKind, Mapping[str, ChipStatus]]] = {
    "session.connecting": REFUSED_BY_GATEWAY,
    "session.backoff": REFUSED_BY_GATEWAY,
    "session.proxy_blocked": REFUSED_BY_GATEWAY,
    "session.closed": {**REFUSED_BY_WHATSAPP, "bridge_stopping": ChipStatus.CONNECTING},  # another bridge takes it
}

router = APIRouter(prefix="/internal/bridge", include_in_schema=False)


async def signed_event(request: Request, now: Now) -> BridgeEvent:
    """The event, when the bridge alone can have sent it. Raises WhagoError("not_authenticated"), InvalidInput."""
    secret, headers = parts_of(request).config.bridge_secret, request.headers
    timestamp = headers.get(TIMESTAMP_HEADER, "")
    if secret is None or len(timestamp) > TIMESTAMP_MAX_CHARS:
        raise WhagoError("not_authenticated")
    body = await request.body()
    return read_event(secret, headers.get("Authorization"), timestamp, headers.get(SIGNATURE_HEADER), body, now)


@router.post("/events")
def take_event(event: Annotated[BridgeEvent, Depends(signed_event)], now: Now) -> dict[str, bool]:
    """Takes over the chip's state; an event that is older than what is known changes nothing."""
    phone = event.chip.phone_number
    if not 0 < event.seq <= SEQ_MAX or len(phone or "") > PHONE_MAX_CHARS:
        raise InvalidInput(body="This is not an event of the bridge.")
    reason = _reason(event)
    status = BY_REASON.get(event.kind, {}).get(reason or "", STATUSES[event.kind])
    taken = set_chip_status(
        event.chip_id, status, now=now, event_no=event.seq, epoch=event.epoch, reason=reason, phone_number=phone
    )
    log.info("bridge.event", chip=str(event.chip_id), kind=event.kind, reason=reason, taken=taken)
    return {"taken": taken}


def _reason(event: BridgeEvent) -> str | None:
    """A stable word for the chip's owner. The bridge repeats that of the last try until the chip is open."""
    if event.kind == "session.replaced":
        return "replaced"
    error = event.chip.last_error
    return error.reason[:REASON_MAX_CHARS] if error is not None and event.kind != "session.qr" else None
