"""A blocking socket with one deadline for all that happens on it; every byte on the raw socket is counted.

The handshake is the gateway's own (``providers.handshake``), so what answers here answers a chip too.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from whago.providers.diagnosis import SENTENCES, Diagnosis, diagnose_http, diagnose_socks5
from whago.providers.handshake.events import Established, Refuse, Say
from whago.providers.handshake.upstream import upstream_handshake
from whago.providers.presets import Protocol

REFUSAL_BODY_MAX: Final = 10_240  # enough of a refusal, head and body, to hear why
REFUSAL_BODY_S: Final = 1.0  # the diagnosis is not worth a longer wait
CONNECT_S: Final = 5.0  # to one address; residential gateways answer in well under a second
READ_BYTES: Final = 4_096
TLS_READ_BYTES: Final = 16_384  # one record


@dataclass(frozen=True, slots=True)
class ProbeUpstream:
    """A proxy and the login to use, filled in as for a chip."""

    protocol: Protocol
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)


class UpstreamFailed(Exception):
    """The attempt failed; ``diagnosis`` says what it means and the message is a sentence without a secret."""

    def __init__(self, diagnosis: Diagnosis, sentence: str | None = None) -> None:
        super().__init__(sentence or SENTENCES[diagnosis])
        self.diagnosis = diagnosis


class Wire:
    """Raises TimeoutError past ``deadline`` (of ``time.monotonic``), EOFError at the end, OSError as sockets do.

    ``bytes_moved``: of the raw socket, both ways, TLS and the proxy's handshake included: what a provider bills.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._buffer = bytearray()
        self._tls: _Tls | None = None
        self.bytes_moved = 0

    def send(self, payload: bytes) -> None:
        if self._tls is None:
            self._send_raw(payload)
        else:
            self._tls.secure.write(payload)
            self._send_raw(self._tls.outgoing.read())

    def until(self, mark: bytes, limit: int) -> bytes:
        """Up to and including ``mark``. Raises UpstreamFailed when that is longer than ``limit`` bytes."""
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) >= limit:
                raise UpstreamFailed(Diagnosis.PROTOCOL)
            self._buffer += self._chunk()
        return self._take(end + len(mark))

    def some(self) -> bytes:
        """What is there, or what comes next."""
        if not self._buffer:
            self._buffer += self._chunk()
        return self._take(len(self._buffer))

    def put_back(self, rest: bytes) -> None:
        """What came behind a handshake and is the tunnel's."""
        self._buffer[:0] = rest

    def encrypt(self, server_name: str) -> None:
        """From here on everything is inside TLS with a verified certificate. Raises ssl.SSLError."""
        tls = _Tls(server_name)
        if self._buffer:
            tls.incoming.write(self._take(len(self._buffer)))
        while True:
            try:
                tls.secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send_raw(tls.outgoing.read())
                tls.incoming.write(self._receive())
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the alert is a courtesy
                    self._send_raw(tls.outgoing.read())
                raise
        self._send_raw(tls.outgoing.read())
        self._tls = tls

    def hurry(self, seconds: float) -> None:
        """Moves the deadline nearer."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def close(self) -> None:
        self._sock.close()

    def _chunk(self) -> bytes:
        if self._tls is None:
            return self._receive()
        while True:
            try:
                if chunk := self._tls.secure.read(TLS_READ_BYTES):
                    return chunk
                raise EOFError  # the peer's close_notify
            except ssl.SSLWantReadError:
                self._tls.incoming.write(self._receive())

    def _send_raw(self, payload: bytes) -> None:
        unsent = memoryview(payload)
        while unsent:
            self._arm()
            sent = self._sock.send(unsent)
            self.bytes_moved += sent
            unsent = unsent[sent:]

    def _receive(self) -> bytes:
        self._arm()
        chunk = self._sock.recv(READ_BYTES)
        if not chunk:
            raise EOFError
        self.bytes_moved += len(chunk)
        return chunk

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)


class _Tls:
    """TLS beside the socket instead of around it, so that the raw bytes can be counted."""

    def __init__(self, server_name: str) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        self.secure = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)


def dial(addresses: Sequence[str], port: int, deadline: float) -> Wire:
    """Connects to the first address that accepts. Raises UpstreamFailed."""
    outcome = Diagnosis.PROXY_DOWN
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return Wire(socket.create_connection((address, port), timeout=min(CONNECT_S, left)), deadline)
        except TimeoutError:
            outcome = Diagnosis.TIMEOUT
        except OSError:
            outcome = Diagnosis.PROXY_DOWN
    raise UpstreamFailed(outcome)


def open_tunnel(wire: Wire, upstream: ProbeUpstream, host: str, port: int) -> None:
    """Asks for a tunnel to a host name. Raises UpstreamFailed, and what ``Wire`` raises."""
    try:
        handshake = upstream_handshake(upstream.protocol, _ascii(host), port, upstream.username, upstream.password)
    except ValueError as error:
        raise UpstreamFailed(Diagnosis.CREDENTIAL_REFUSED, f"The login cannot be sent: {error}.") from error
    wire.send(handshake.start())
    while True:
        match handshake.next_event():
            case None:
                handshake.receive(wire.some())
            case Say(payload):
                wire.send(payload)
            case Established(rest):
                wire.put_back(rest)
                return
            case Refuse() as refusal:
                raise UpstreamFailed(_diagnose(wire, upstream.protocol, refusal))


def _diagnose(wire: Wire, protocol: Protocol, refusal: Refuse) -> Diagnosis:
    if refusal.reason == "upstream_protocol":
        return Diagnosis.PROTOCOL
    if refusal.reason == "target_unreachable":
        return Diagnosis.TARGET_REFUSED
    if protocol == "http":
        told = refusal.told.partition(b" ")[2] + _more(wire, len(refusal.told))
        return diagnose_http(refusal.status, told.decode("utf-8", "replace"))
    if refusal.reason == "upstream_auth_failed":
        return Diagnosis.CREDENTIAL_REFUSED
    return diagnose_socks5(refusal.status)


def _more(wire: Wire, heard: int) -> bytes:
    """The rest of a refusal's body, as far as it comes soon."""
    wire.hurry(REFUSAL_BODY_S)
    body = b""
    try:
        while heard + len(body) < REFUSAL_BODY_MAX:
            body += wire.some()
    except (EOFError, OSError):  # TimeoutError is an OSError
        pass
    return body


def _ascii(host: str) -> str:
    """As a client sends a name: in its ASCII form (RFC 5890)."""
    return host if host.isascii() else host.encode("idna").decode("ascii")
