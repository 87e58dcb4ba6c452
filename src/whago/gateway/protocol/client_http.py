"""The client's side of HTTP CONNECT (RFC 9110 section 9.3.6): one head in, one answer out."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from whago.gateway.protocol.events import ClientEvent, Credential, Refuse, Target
from whago.gateway.protocol.refusal import http_refusal
from whago.providers.handshake.basic_auth import decode_basic
from whago.providers.handshake.http_head import Fields, HeadTooLarge, MalformedHead, find_end, split_head

ACCEPTED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"

_REQUEST_LINE: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([\x21-\x7e\x80-\xff]+) HTTP/1\.[01]")
_AUTHORITY: Final = re.compile(rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9._-]{1,255})):([0-9]{1,5})")
_METHOD_START: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]")
_MAX_PORT: Final = 65535
MAX_CACHED: Final = 1024  # heads, 8 MiB at worst: a chip reconnects with the very same one


Meaning = tuple[ClientEvent, Target | None]
"""The first event of a whole head, and the target that may follow it."""

_KNOWN_HEADS: Final[dict[bytes, Meaning]] = {}


class HttpClient:
    """Reads the head, then tells the credential and, once that is accepted, the target."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._next: ClientEvent | None = None
        self._target: Target | None = None
        self._parsed = False

    def receive(self, chunk: bytes) -> None:
        known = _KNOWN_HEADS.get(chunk) if not self._buffer and not self._parsed else None
        if known is not None:
            self._next, self._target = known
            self._parsed = True
            return
        self._buffer += chunk
        if not self._parsed:
            self._parse()

    def next_event(self) -> ClientEvent | None:
        event, self._next = self._next, None
        return event

    def authenticated(self) -> None:
        """The credential was right: the target may be told."""
        self._next = self._target

    def accept(self) -> bytes:
        return ACCEPTED

    def refuse(self, reason: str, upstream_status: int = 0) -> bytes:
        return http_refusal(reason, upstream_status)

    def rest(self) -> bytes:
        """What came behind the head: the tunnel's first payload."""
        return bytes(self._buffer)

    def _parse(self) -> None:
        try:
            end = self._find_end()
            if end < 0:
                return
            self._next, self._target = _read(bytes(self._buffer[:end]))
        except HeadTooLarge:
            self._next = Refuse("head_too_large")
        except MalformedHead:
            self._next = Refuse("bad_request")
        else:
            del self._buffer[:end]
        self._parsed = True

    def _find_end(self) -> int:
        if self._buffer and not _METHOD_START.match(self._buffer):
            raise MalformedHead
        end = find_end(self._buffer, self._searched)
        self._searched = len(self._buffer)
        return end


def _read(head: bytes) -> Meaning:
    known = _KNOWN_HEADS.get(head)
    if known is None:
        known = _parse_head(head)
        if len(_KNOWN_HEADS) >= MAX_CACHED:
            _KNOWN_HEADS.clear()
        _KNOWN_HEADS[head] = known
    return known


def _parse_head(head: bytes) -> Meaning:
    start, fields = split_head(head)
    line = _REQUEST_LINE.fullmatch(start)
    if line is None:
        raise MalformedHead
    if line[1] != b"CONNECT":
        return Refuse("method_not_allowed"), None
    target = _read_authority(line[2])
    _refuse_body(fields)
    return _read_credential(fields), target


def _read_authority(text: bytes) -> Target:
    """host:port (RFC 9112 section 3.2.3); an IPv6 literal stands in brackets."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise MalformedHead
    literal, name, port = match.groups()
    if literal is not None:
        _check_ipv6(literal.decode())
    if int(port) > _MAX_PORT or (port[0] == ord("0") and len(port) > 1):
        raise MalformedHead
    return Target((literal or name).decode(), int(port))


def _check_ipv6(literal: str) -> None:
    try:
        IPv6Address(literal)
    except AddressValueError:
        raise MalformedHead from None


def _refuse_body(fields: Fields) -> None:
    """A CONNECT has no content; a peer that announces some and we would disagree about where the tunnel begins."""
    for name, value in fields:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            raise MalformedHead


def _read_credential(fields: Fields) -> Credential | Refuse:
    values = [value for name, value in fields if name == b"proxy-authorization"]
    if len(values) > 1:
        raise MalformedHead
    pair = decode_basic(values[0]) if values else None
    return Credential(*pair) if pair else Refuse("bad_credential")
