"""A chip's engine: its WhatsApp session in our bridge, or the credential that an external engine is given."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

import structlog

from whago.bridge.wire import gateway_urls
from whago.domain.actions.chips import CreatedChip, renew_gateway_token, set_chip_status, undo_chip_creation
from whago.domain.models import ChipStatus
from whago.domain.queries.chips import ChipView
from whago.domain.rules.thrift import Thrift
from whago.errors import WhagoError
from whago.web.parts import Parts

log = structlog.get_logger()

GOES_ON: Final = frozenset({"connecting", "qr", "open", "backoff"})  # states in which the bridge needs no telling


def start_session(parts: Parts, created: CreatedChip) -> None:
    """The last step of a chip's creation; when it fails the whole chip is taken back.

    Raises WhagoError: bridge_unavailable, bridge_refused.
    """
    try:
        bridge = parts.bridge
        proxy_url = gateway_urls(parts.config.gateway_address, created.chip_id, created.gateway_token)["proxy_url"]
        bridge.create(created.chip_id, proxy_url)
    except WhagoError:
        undo_chip_creation(created.chip_id)
        forget_session(parts, created.chip_id)  # it may have started although we did not hear so
        raise


def reconnect(parts: Parts, chip: ChipView, *, now: datetime) -> None:
    """Starts a chip's session again, unless the bridge is at it already.

    A running session keeps its credential: a new one would cut it off.
    Raises WhagoError: bridge_unavailable, bridge_refused.
    """
    bridge = parts.bridge
    session = bridge.get(chip.id)
    if session is not None and session.state in GOES_ON:
        return
    token = renew_gateway_token(chip.owner.id, chip.id, now=now)
    proxy_url = gateway_urls(parts.config.gateway_address, chip.id, token)["proxy_url"]
    bridge.create(chip.id, proxy_url, chip.thrift)
    set_chip_status(chip.id, ChipStatus.CONNECTING, now=now)


def disconnect(parts: Parts, chip: ChipView, *, now: datetime) -> None:
    """Stops a chip's session; the phone stays linked."""
    parts.bridge.stop(chip.id)
    set_chip_status(chip.id, ChipStatus.DISCONNECTED, now=now, reason="stopped_by_user")


def unlink(parts: Parts, chip: ChipView, *, now: datetime) -> bool:
    """Unlinks the phone and forgets the pairing; the chip stays. Whether WhatsApp was told: it takes an open chip."""
    unlinked = parts.bridge.logout(chip.id)
    set_chip_status(chip.id, ChipStatus.LOGGED_OUT, now=now, reason="unlinked_by_user")
    return unlinked


def apply_thrift(parts: Parts, chip_id: UUID, thrift: Thrift) -> None:
    """Tells the bridge; one that cannot be reached, or does not run the chip, takes it with the next start."""
    if parts.config.bridge is None:
        return
    try:
        parts.config.bridge.spare(chip_id, thrift)
    except WhagoError as error:
        log.warning("bridge.thrift_later", chip=str(chip_id), code=error.code)


def forget_session(parts: Parts, chip_id: UUID) -> None:
    """Unlinks the phone where it can be told; the stored keys go with the chip itself.

    What a bridge that is away still has is of no use: its credential dies, and the clocks end it when it is back.
    """
    if parts.config.bridge is None:
        return
    try:
        parts.config.bridge.delete(chip_id, logout=True)
    except WhagoError as error:
        log.warning("bridge.forget_failed", chip=str(chip_id), code=error.code)
