"""Runs a protocol machine over bytes cut anywhere, and answers it as the gateway would."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from whago.gateway.protocol.client import ClientHandshake, client_handshake
from whago.gateway.protocol.events import Credential, Established, Refuse, Say, Target
from whago.providers.handshake.upstream import UpstreamHandshake


def cuts(payload: bytes) -> st.SearchStrategy[list[bytes]]:
    """The same bytes in pieces."""
    places = st.lists(st.integers(1, max(1, len(payload) - 1)), max_size=12)
    return places.map(lambda at: pieces(payload, at))


def pieces(payload: bytes, places: Sequence[int]) -> list[bytes]:
    bounds = [0, *sorted(set(places)), len(payload)]
    return [payload[start:end] for start, end in pairwise(bounds) if start < end]


def talk_client(chunks: Sequence[bytes]) -> tuple[list[Any], bytes]:
    """All events of a client's bytes, with every credential accepted, and what is left for the tunnel."""
    handshake: ClientHandshake | None = None
    events: list[Any] = []
    over = False
    rest = b""
    for chunk in chunks:
        if over:
            rest += chunk
            continue
        if handshake is None:
            handshake = client_handshake(chunk)
        else:
            handshake.receive(chunk)
        over = _drain_client(handshake, events)
    opens = handshake is not None and bool(events) and isinstance(events[-1], Target)
    return events, handshake.rest() + rest if handshake is not None and opens else b""


def _drain_client(handshake: ClientHandshake, events: list[Any]) -> bool:
    """Whether the handshake is over."""
    while (event := handshake.next_event()) is not None:
        events.append(event)
        if isinstance(event, Credential):
            handshake.authenticated()
        if isinstance(event, Target | Refuse):
            return True
    return False


def talk_upstream(handshake: UpstreamHandshake, chunks: Sequence[bytes]) -> tuple[bytes, Any, bytes]:
    """What we said, the last event, and what is left for the tunnel."""
    said = handshake.start()
    for number, chunk in enumerate(chunks):
        handshake.receive(chunk)
        while (event := handshake.next_event()) is not None:
            if not isinstance(event, Say):
                rest = event.rest if isinstance(event, Established) else b""
                return said, event, rest + b"".join(chunks[number + 1 :])
            said += event.payload
    return said, None, b""
