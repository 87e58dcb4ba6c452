"""The client's side of SOCKS5 (RFC 1928) with user/password authentication (RFC 1929); CONNECT only."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from whago.gateway.protocol.events import ClientEvent, Credential, Refuse, Say, Target
from whago.gateway.protocol.refusal import REFUSALS

VERSION: Final = 0x05
AUTH_VERSION: Final = 0x01
USER_PASSWORD: Final = 0x02
NO_METHOD: Final = 0xFF
CONNECT: Final = 0x01
IPV4, DOMAIN, IPV6 = 0x01, 0x03, 0x04

_NOWHERE: Final = bytes([0, IPV4, 0, 0, 0, 0, 0, 0])  # the bound address, which means nothing through an upstream
_NAME: Final = re.compile(rb"[A-Za-z0-9._-]+")
_FIXED_LENGTH: Final = {IPV4: 4, IPV6: 16}

_Step = Callable[["Socks5Client"], bool]


class Socks5Client:
    """Greeting, credential, request: each step takes its bytes from the buffer once they are all there."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._events: list[ClientEvent] = []
        self._step: _Step | None = Socks5Client._greet
        self._refusal = bytes([VERSION, NO_METHOD])

    def receive(self, chunk: bytes) -> None:
        self._buffer += chunk
        self._advance()

    def next_event(self) -> ClientEvent | None:
        return self._events.pop(0) if self._events else None

    def authenticated(self) -> None:
        """The credential was right: say so and read the request, which may be here already."""
        self._events.append(Say(bytes([AUTH_VERSION, 0])))
        self._refusal = b""
        self._step = Socks5Client._request
        self._advance()

    def accept(self) -> bytes:
        return bytes([VERSION, 0]) + _NOWHERE

    def refuse(self, reason: str, upstream_status: int = 0) -> bytes:  # noqa: ARG002
        """SOCKS5 has no place for the upstream's own status."""
        return self._refusal or bytes([VERSION, REFUSALS[reason].socks_reply]) + _NOWHERE

    def rest(self) -> bytes:
        """What came behind the request: the tunnel's first payload."""
        return bytes(self._buffer)

    def _advance(self) -> None:
        while self._step is not None and self._step(self):
            pass

    def _end(self, event: ClientEvent) -> bool:
        self._events.append(event)
        self._step = None
        return False

    def _differs(self, index: int, expected: int) -> bool:
        return len(self._buffer) > index and self._buffer[index] != expected

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _greet(self) -> bool:
        if self._differs(0, VERSION):
            return self._end(Refuse("bad_request"))
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return False
        methods = self._take(2 + self._buffer[1])[2:]
        if USER_PASSWORD not in methods:
            return self._end(Refuse("bad_credential"))
        self._events.append(Say(bytes([VERSION, USER_PASSWORD])))
        self._refusal = bytes([AUTH_VERSION, 1])
        self._step = Socks5Client._authenticate
        return True

    def _authenticate(self) -> bool:
        if self._differs(0, AUTH_VERSION):
            return self._end(Refuse("bad_request"))
        name_end = 2 + self._buffer[1] if len(self._buffer) > 1 else 2
        if len(self._buffer) <= name_end or len(self._buffer) < name_end + 1 + self._buffer[name_end]:
            return False
        message = self._take(name_end + 1 + self._buffer[name_end])
        return self._end(_credential(message[2:name_end], message[name_end + 1 :]))

    def _request(self) -> bool:
        if self._differs(0, VERSION) or self._differs(2, 0):
            return self._end(Refuse("bad_request"))
        if len(self._buffer) < 5:
            return False
        kind, first = self._buffer[3], self._buffer[4]
        length = 1 + first if kind == DOMAIN else _FIXED_LENGTH.get(kind)
        if length is None:
            return self._end(Refuse("address_type_not_allowed"))
        if len(self._buffer) < 4 + length + 2:
            return False
        message = self._take(4 + length + 2)
        return self._end(_target(message) if message[1] == CONNECT else Refuse("method_not_allowed"))


def _credential(name: bytes, password: bytes) -> Credential | Refuse:
    try:
        return Credential(name.decode(), password.decode())
    except UnicodeDecodeError:
        return Refuse("bad_credential")


def _target(message: bytes) -> Target | Refuse:
    kind, address, port = message[3], message[4:-2], int.from_bytes(message[-2:], "big")
    if kind == IPV4:
        return Target(str(IPv4Address(address)), port)
    if kind == IPV6:
        return Target(str(IPv6Address(address)), port)
    name = address[1:]
    return Target(name.decode(), port) if _NAME.fullmatch(name) else Refuse("host_not_allowed")
