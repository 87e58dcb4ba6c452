"""Events that a real bridge posted, read back; and forged ones, refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from uuid import UUID

import pytest

from tests.bridge.conftest import PHONE, SECRET, Backend, Edge, Gateway, PostedEvent, a_chip, eventually
from whago.bridge.client import BridgeClient
from whago.bridge.events import MAX_SKEW_S, read_event
from whago.bridge.wire import BridgeEvent
from whago.errors import InvalidInput, WhagoError


def read(posted: PostedEvent, secret: str = SECRET, later: timedelta = timedelta()) -> BridgeEvent:
    now = datetime.fromtimestamp(int(posted.timestamp or "0"), UTC) + later
    return read_event(secret, posted.authorization, posted.timestamp, posted.signature, posted.body, now)


def events_of(backend: Backend, chip_id: UUID) -> list[BridgeEvent]:
    return [event for event in map(read, list(backend.posted)) if event.chip_id == chip_id]


def _ends_with(kind: str) -> Callable[[list[BridgeEvent]], bool]:
    return lambda events: bool(events) and events[-1].kind == kind


def test_a_pairing_is_told_step_by_step(client: BridgeClient, edge: Edge, gateway: Gateway, backend: Backend) -> None:
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url())
    shown = eventually(lambda: events_of(backend, chip_id), _ends_with("session.qr"), "the QR code")[-1]
    assert shown.pairing is not None
    assert shown.pairing.expires_at > shown.at
    edge.tell("scan", qr=shown.pairing.qr, phone=PHONE)
    events = eventually(lambda: events_of(backend, chip_id), _ends_with("session.open"), "the pairing")
    assert [kind for kind, _renewed in groupby(event.kind for event in events)] == [
        "session.connecting",
        "session.qr",
        "session.connecting",
        "session.open",
    ]
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert {event.boot_id for event in events} == {client.list().boot_id}
    assert {event.epoch for event in events} == {1}
    assert events[-1].chip == client.get(chip_id)
    assert events[-1].chip.phone_number == PHONE
    assert events[-1].pairing is None


def test_a_block_says_why(client: BridgeClient, gateway: Gateway, backend: Backend) -> None:
    gateway.refusal = (402, "quota_exhausted")
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url())
    events = eventually(lambda: events_of(backend, chip_id), _ends_with("session.proxy_blocked"), "the block")
    assert events[-1].chip.last_error is not None
    assert events[-1].chip.last_error.reason == "quota_exhausted"


def test_no_event_carries_a_credential(client: BridgeClient, gateway: Gateway, backend: Backend) -> None:
    chip_id = a_chip()
    client.create(chip_id, gateway.proxy_url("chip-credential"))
    eventually(lambda: events_of(backend, chip_id), lambda events: len(events) >= 2, "events")
    assert all(word not in posted.body for posted in backend.posted for word in (b"sesame", b"chip-credential"))


def signed(body: bytes, timestamp: str = "1790000000", secret: str = SECRET) -> PostedEvent:
    signature = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return PostedEvent(f"Bearer {secret}", timestamp, f"v1={signature}", body)


EVENT = {
    "chip_id": "0e4f1f9a-52a5-4d4c-8a51-3f2f7c1c0a01",
    "boot_id": "0e4f1f9a-52a5-4d4c-8a51-3f2f7c1c0a02",
    "seq": 1,
    "at": "2026-01-01T00:00:00.000Z",
    "kind": "session.open",
    "data": {
        "chip_id": "0e4f1f9a-52a5-4d4c-8a51-3f2f7c1c0a01",
        "state": "open",
        "since": "2026-01-01T00:00:00.000Z",
        "phone_number": None,
        "pairing": "qr",
        "history": "none",
        "attempt": 0,
        "last_error": None,
        "next_retry_at": None,
    },
}


def test_a_genuine_event_is_read() -> None:
    assert read(signed(json.dumps(EVENT).encode())).kind == "session.open"


@pytest.mark.parametrize(
    "forge",
    [
        lambda event: replace(event, authorization=None),
        lambda event: replace(event, authorization="Bearer something-else-entirely"),
        lambda event: replace(event, signature=None),
        lambda event: replace(event, signature="v1=" + "0" * 64),
        lambda event: replace(event, signature="v1=é"),
        lambda event: replace(event, body=event.body.replace(b"open", b"qr")),
        lambda event: replace(event, timestamp="1790000001"),
        lambda event: replace(event, timestamp="+1790000000"),
        lambda event: replace(event, timestamp=""),
    ],
)
def test_a_forged_event_is_refused(forge: Callable[[PostedEvent], PostedEvent]) -> None:
    forged = forge(signed(json.dumps(EVENT).encode()))
    now = datetime.fromtimestamp(1790000000, UTC)
    with pytest.raises(WhagoError, match="Sign in"):
        read_event(SECRET, forged.authorization, forged.timestamp, forged.signature, forged.body, now)


@pytest.mark.parametrize("later_s", [-MAX_SKEW_S - 1, MAX_SKEW_S + 1])
def test_a_recorded_event_is_of_no_use_later(later_s: int) -> None:
    with pytest.raises(WhagoError, match="Sign in"):
        read(signed(json.dumps(EVENT).encode()), later=timedelta(seconds=later_s))


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"not json", json.dumps({**EVENT, "kind": "session.party"}).encode()]
)
def test_a_signed_thing_that_is_no_event_is_invalid(body: bytes) -> None:
    with pytest.raises(InvalidInput):
        read(signed(body))
