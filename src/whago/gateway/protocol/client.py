"""The client's handshake, whichever of the two protocols it speaks: the first byte tells."""

from __future__ import annotations

from typing import Protocol

from whago.gateway.protocol.client_http import HttpClient
from whago.gateway.protocol.client_socks5 import VERSION, Socks5Client
from whago.gateway.protocol.events import ClientEvent


class ClientHandshake(Protocol):
    """Feed it with ``receive``; ask ``next_event`` until it answers None.

    A ``Credential`` is answered with ``authenticated()`` (then a ``Target`` follows) or with the bytes of ``refuse()``;
    a ``Target`` with the bytes of ``accept()`` or ``refuse()``. After a ``Refuse`` event send ``refuse(event.reason)``.
    """

    def receive(self, chunk: bytes) -> None: ...

    def next_event(self) -> ClientEvent | None: ...

    def authenticated(self) -> None: ...

    def accept(self) -> bytes: ...

    def refuse(self, reason: str, upstream_status: int = 0) -> bytes: ...

    def rest(self) -> bytes: ...


def client_handshake(first: bytes) -> ClientHandshake:
    """The machine for a client whose first bytes are ``first`` (at least one); they are fed to it already."""
    handshake: ClientHandshake = Socks5Client() if first[0] == VERSION else HttpClient()
    handshake.receive(first)
    return handshake
