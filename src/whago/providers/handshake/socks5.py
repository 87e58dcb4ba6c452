"""Our side of SOCKS5 towards a provider's proxy (RFC 1928, RFC 1929).

A host name always travels as a name: it is never resolved here, so DNS answers belong to the exit and not to us.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from whago.providers.handshake.events import Established, Refuse, Say, UpstreamEvent

VERSION: Final = 0x05
AUTH_VERSION: Final = 0x01
NO_AUTH: Final = 0x00
USER_PASSWORD: Final = 0x02
CONNECT: Final = 0x01
IPV4, DOMAIN, IPV6 = 0x01, 0x03, 0x04
MAX_FIELD_BYTES: Final = 255  # RFC 1929 section 2: one length byte

_LAST_REPLY: Final = 0x08  # the highest reply code of RFC 1928 section 6
_ADDRESS_BYTES: Final = {IPV4: 4, IPV6: 16}

_Step = Callable[["Socks5Upstream"], "UpstreamEvent | None"]


class Socks5Upstream:
    """Greeting, credential, request; what comes behind the last reply is the tunnel's."""

    def __init__(self, host: str, port: int, username: str, password: str) -> None:
        self._buffer = bytearray()
        self._step: _Step = Socks5Upstream._chosen_method
        self._method = USER_PASSWORD if username or password else NO_AUTH
        self._credential = _credential(username, password)
        self._request = bytes([VERSION, CONNECT, 0]) + _address(host) + port.to_bytes(2, "big")

    def start(self) -> bytes:
        return bytes([VERSION, 1, self._method])

    def receive(self, chunk: bytes) -> None:
        self._buffer += chunk

    def next_event(self) -> UpstreamEvent | None:
        return self._step(self)

    def _differs(self, index: int, expected: int) -> bool:
        return len(self._buffer) > index and self._buffer[index] != expected

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _chosen_method(self) -> UpstreamEvent | None:
        if self._differs(0, VERSION):
            return Refuse("upstream_protocol")
        if len(self._buffer) < 2:
            return None
        chosen = self._take(2)[1]
        if chosen != self._method:
            return Refuse("upstream_auth_failed" if chosen == 0xFF else "upstream_protocol", chosen)
        if chosen == NO_AUTH:
            return self._ask()
        self._step = Socks5Upstream._auth_status
        return Say(self._credential)

    def _auth_status(self) -> UpstreamEvent | None:
        if self._differs(0, AUTH_VERSION):
            return Refuse("upstream_protocol")
        if len(self._buffer) < 2:
            return None
        status = self._take(2)[1]
        return self._ask() if status == 0 else Refuse("upstream_auth_failed", status)

    def _ask(self) -> UpstreamEvent:
        self._step = Socks5Upstream._reply
        return Say(self._request)

    def _reply(self) -> UpstreamEvent | None:
        """Byte by byte in their order, so that an answer means the same however it was cut on its way."""
        if self._differs(0, VERSION):
            return Refuse("upstream_protocol")
        if len(self._buffer) >= 2 and self._buffer[1]:
            code = self._buffer[1]
            return Refuse("upstream_refused" if code <= _LAST_REPLY else "upstream_protocol", code)
        if self._differs(2, 0):
            return Refuse("upstream_protocol")
        if len(self._buffer) < 5:
            return None
        kind = self._buffer[3]
        length = 1 + self._buffer[4] if kind == DOMAIN else _ADDRESS_BYTES.get(kind)
        if length is None:
            return Refuse("upstream_protocol")
        if len(self._buffer) < 4 + length + 2:
            return None
        self._take(4 + length + 2)
        return Established(bytes(self._buffer))


def _credential(username: str, password: str) -> bytes:
    name, secret = username.encode(), password.encode()
    if max(len(name), len(secret)) > MAX_FIELD_BYTES:
        raise ValueError("a SOCKS5 credential has at most 255 bytes in its name and in its password")
    return bytes([AUTH_VERSION, len(name)]) + name + bytes([len(secret)]) + secret


def _address(host: str) -> bytes:
    try:
        literal = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return bytes([DOMAIN, len(name)]) + name
    return bytes([IPV4 if literal.version == 4 else IPV6]) + literal.packed
