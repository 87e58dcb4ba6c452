"""The handshake with a provider's proxy, in either protocol."""

from __future__ import annotations

from typing import Literal, Protocol

from whago.providers.handshake.events import UpstreamEvent
from whago.providers.handshake.http import HttpUpstream
from whago.providers.handshake.socks5 import Socks5Upstream


class UpstreamHandshake(Protocol):
    """Send ``start()``; feed answers with ``receive``; ask ``next_event`` until it answers None.

    ``Say`` goes to the proxy; ``Established`` and ``Refuse`` end the handshake.
    """

    def start(self) -> bytes: ...

    def receive(self, chunk: bytes) -> None: ...

    def next_event(self) -> UpstreamEvent | None: ...


def upstream_handshake(
    protocol: Literal["http", "socks5"], host: str, port: int, username: str, password: str
) -> UpstreamHandshake:
    """``host`` and ``port`` are the chip's target. Raises ValueError for a credential the protocol cannot carry."""
    kind = HttpUpstream if protocol == "http" else Socks5Upstream
    return kind(host, port, username, password)
