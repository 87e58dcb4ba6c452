"""What must hold for any bytes. A broken property is an AssertionError; any other exception is a bug as well.

Imports nothing of the fuzzer, so that the properties can be tried on a parser that is known to be wrong.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol
from uuid import UUID

from whago.gateway.counters import (
    HEADER_BYTES,
    IDENTITY,
    SLOT_BYTES,
    DeadCounters,
    NotACounterFile,
    _header,
    read_counters,
)
from whago.gateway.protocol import client_http
from whago.gateway.protocol.client import ClientHandshake, client_handshake
from whago.gateway.protocol.events import Credential, Established, Refuse, Say, Target
from whago.gateway.protocol.refusal import REFUSALS
from whago.providers.handshake.http_head import MAX_HEAD_BYTES
from whago.providers.handshake.upstream import UpstreamHandshake, upstream_handshake

CUT_BYTES: Final = 3  # the first bytes of an input say where the rest is cut
SINGLY_BYTES: Final = 700  # longer inputs are not fed byte by byte: that would be most of the fuzzer's time
MAX_SOCKS_BYTES: Final = 2 + 255 + 3 + 255 + 255 + 4 + 256 + 2  # greeting, credential and request at their longest

Outcome = tuple[list[Any], bytes, bool]
"""The events, what is left for the tunnel, and whether the handshake is over."""

Talk = Callable[[Sequence[bytes]], Outcome]


class _Parser(Protocol):
    _buffer: bytearray


def http_client(data: bytes) -> None:
    """An HTTP CONNECT from a client, or whatever a stranger sends instead."""
    payload = data[CUT_BYTES:]
    if payload and payload[0] != 5:
        _every_cut(data, talk_client, MAX_HEAD_BYTES)


def socks5_client(data: bytes) -> None:
    """SOCKS5 from a client. The version byte is put in front, or every input would have to find it."""
    _every_cut(data[:CUT_BYTES] + b"\x05" + data[CUT_BYTES:], talk_client, MAX_SOCKS_BYTES)


def http_upstream(data: bytes) -> None:
    """A provider's answers to our CONNECT."""
    _every_cut(data, lambda chunks: talk_upstream(upstream_handshake("http", "a.b", 443, "u", "p"), chunks))


def socks5_upstream(data: bytes) -> None:
    """A provider's answers to our SOCKS5. An odd first byte leaves the credential out, which is another dialogue."""
    login = ("", "") if data[:1] and data[0] & 1 else ("u", "p")
    _every_cut(data, lambda chunks: talk_upstream(upstream_handshake("socks5", "a.b", 443, *login), chunks))


def counter_file(data: bytes) -> None:
    """Slots with a right checksum and any content, behind a right header, then some damage."""
    damage, body = data[:CUT_BYTES], data[CUT_BYTES:]
    content = bytearray(_header(UUID(int=1)) + b"".join(_sealed(body[at:]) for at in range(0, len(body), SLOT_BYTES)))
    if len(damage) == CUT_BYTES and damage[0] & 1:
        content[int.from_bytes(damage) % len(content)] ^= damage[1]
    if len(damage) == CUT_BYTES and damage[0] & 2:
        del content[int.from_bytes(damage) % len(content) :]
    found = _read(bytes(content))
    if isinstance(found, str):
        assert found, "a refusal is a sentence"
    else:
        assert len(found.usages) + found.torn <= 1 + (len(content) - HEADER_BYTES) // SLOT_BYTES


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    target.__name__: target for target in (http_client, socks5_client, http_upstream, socks5_upstream, counter_file)
}


def _read(content: bytes) -> DeadCounters | str:
    try:
        return read_counters(content)
    except NotACounterFile as why:
        return str(why)


def _every_cut(data: bytes, talk: Talk, bound: int = MAX_HEAD_BYTES) -> None:
    """The same bytes mean the same however they arrive, and what is not ours reaches the tunnel whole."""
    payload = data[CUT_BYTES:]
    if not payload:
        return
    whole = talk([payload])
    for chunks in _ways(data[:CUT_BYTES], payload):
        client_http._KNOWN_HEADS.clear()  # else the second reading would only be looked up
        assert talk(chunks) == whole, "another cut of the same bytes means something else"
    assert talk([payload]) == whole, "a known head means something else than a new one"
    _nothing_lost(payload, talk, whole, bound)


def _nothing_lost(payload: bytes, talk: Talk, whole: Outcome, bound: int) -> None:
    events, rest, over = whole
    if not over or isinstance(events[-1], Refuse):
        return
    taken = payload[: len(payload) - len(rest)]
    assert payload == taken + rest, "what came behind the handshake is not what was sent"
    assert len(taken) <= bound * 5, "more was taken than a handshake can have"
    assert talk([taken]) == (events, b"", True), "the handshake needed bytes that it left to the tunnel"
    assert not talk([taken[:-1]])[2], "the handshake took a byte that is the tunnel's"


def _ways(cut: bytes, payload: bytes) -> list[list[bytes]]:
    places = sorted({place * len(payload) // 256 for place in cut})
    bounds = [0, *places, len(payload)]
    ways = [[payload[start:end] for start, end in pairwise(bounds) if start < end]]
    if len(payload) <= SINGLY_BYTES:
        ways.append([payload[at : at + 1] for at in range(len(payload))])
    return ways


def talk_client(chunks: Sequence[bytes], begin: Callable[[bytes], ClientHandshake] = client_handshake) -> Outcome:
    """A whole client, every credential of which is accepted. The buffer is measured at every step."""
    handshake: ClientHandshake | None = None
    events: list[Any] = []
    for number, chunk in enumerate(chunks):
        if handshake is None:
            handshake = begin(chunk)
        else:
            handshake.receive(chunk)
        over = _drain_client(handshake, events)
        assert handshake.refuse("bad_request"), "it can be refused at any moment"
        if over:
            opens = isinstance(events[-1], Target)
            return events, handshake.rest() + b"".join(chunks[number + 1 :]) if opens else b"", True
        assert len(handshake.rest()) < MAX_HEAD_BYTES, "an unfinished handshake keeps more than a head"
    return events, b"", False


def _drain_client(handshake: ClientHandshake, events: list[Any]) -> bool:
    while (event := handshake.next_event()) is not None:
        assert isinstance(event, Say | Credential | Target | Refuse)
        events.append(event)
        if isinstance(event, Refuse):
            assert event.reason in REFUSALS
            return True
        if isinstance(event, Target):
            assert event.host
            assert 0 <= event.port <= 65535
            return True
        if isinstance(event, Credential):
            handshake.authenticated()
    return False


def talk_upstream(handshake: UpstreamHandshake, chunks: Sequence[bytes]) -> Outcome:
    """A provider's bytes, answered as a dial answers them: one event per read, the next at the next read."""
    events: list[Any] = [handshake.start()]
    for number, chunk in enumerate(chunks):
        handshake.receive(chunk)
        while (event := handshake.next_event()) is not None:
            if isinstance(event, Established):
                events.append("established")
                return events, event.rest + b"".join(chunks[number + 1 :]), True
            events.append((event.reason, event.status) if isinstance(event, Refuse) else event.payload)
            if isinstance(event, Refuse):
                assert event.reason in REFUSALS
                return [*events[:-1], event], b"", True
        assert len(_buffer(handshake)) < MAX_HEAD_BYTES, "an unfinished handshake keeps more than a head"
    return events, b"", False


def _buffer(handshake: Any) -> bytearray:
    parser: _Parser = handshake
    return parser._buffer


def _sealed(body: bytes) -> bytes:
    """One slot: five cells of which the first is the seal, then the identity, as ``counters`` lays them out."""
    cells = body[: SLOT_BYTES - 8].ljust(SLOT_BYTES - 8, b"\0")
    identity = cells[IDENTITY * 8 - 8 :]
    return struct.pack("<Q", 1 << 32 | zlib.crc32(identity)) + cells
