"""Our side of HTTP CONNECT towards a provider's proxy."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from whago.providers.handshake.basic_auth import encode_basic
from whago.providers.handshake.events import Established, Refuse, UpstreamEvent
from whago.providers.handshake.http_head import HeadTooLarge, MalformedHead, find_end, split_head
from whago.providers.handshake.proxy_status import blames_target

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_AUTH_FAILED: Final = 407
MAX_CACHED: Final = 1024  # requests and answers repeat: a chip has few targets, a provider few answers
MAX_INTERIM: Final = 4  # 1xx answers before the final one; none is expected, a few are legal, an endless row is a trick


_CONSENTS: Final[set[bytes]] = set()  # whole heads of 2xx answers that were read before
_ESTABLISHED: Final = Established(b"")


class HttpUpstream:
    """Sends one CONNECT and reads one answer; what comes behind a 2xx is the tunnel's."""

    def __init__(self, host: str, port: int, username: str, password: str) -> None:
        self._request = _request(host, port, username, password)
        self._host = host
        self._buffer = bytearray()
        self._searched = 0
        self._interim = 0
        self._is_known_consent = False

    def start(self) -> bytes:
        return self._request

    def receive(self, chunk: bytes) -> None:
        self._is_known_consent = not self._buffer and not self._interim and chunk in _CONSENTS
        self._buffer += chunk

    def next_event(self) -> UpstreamEvent | None:
        if self._is_known_consent:
            return _ESTABLISHED
        try:
            return self._parse()
        except (MalformedHead, HeadTooLarge):
            return Refuse("upstream_protocol")

    def _parse(self) -> UpstreamEvent | None:
        while (end := find_end(self._buffer, self._searched)) > 0:
            head = bytes(self._buffer[:end])
            status = _status(head)
            del self._buffer[:end]
            self._searched = 0
            if status >= 200:
                return self._final(status, head)
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise MalformedHead
        self._searched = len(self._buffer)
        return None

    def _final(self, status: int, head: bytes) -> UpstreamEvent:
        if status < 300:
            if len(_CONSENTS) >= MAX_CACHED:
                _CONSENTS.clear()
            _CONSENTS.add(head)
            return Established(bytes(self._buffer))
        return Refuse(self._reason(status, head), status, head + bytes(self._buffer))

    def _reason(self, status: int, head: bytes) -> str:
        if status == _AUTH_FAILED:
            return "upstream_auth_failed"
        _start, fields = split_head(head)
        return "target_unreachable" if blames_target(fields, self._host) else "upstream_refused"


@lru_cache(MAX_CACHED)
def _request(host: str, port: int, username: str, password: str) -> bytes:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1".encode(), f"Host: {authority}".encode()]
    if username or password:
        lines.append(b"Proxy-Authorization: " + encode_basic(username, password))
    return b"\r\n".join(lines) + b"\r\n\r\n"


@lru_cache(MAX_CACHED)
def _status(head: bytes) -> int:
    start, _fields = split_head(head)
    line = _STATUS_LINE.fullmatch(start)
    if line is None or line[1] == b"101":  # RFC 9110 section 15.2.2: nobody asked to switch protocols
        raise MalformedHead
    return int(line[1])
