"""A blocking socket with one deadline for all that happens on it, and the two handshakes of a proxy's client."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final

from whago.providers.diagnosis import SENTENCES, Diagnosis, diagnose_http, diagnose_socks5
from whago.providers.presets import Protocol

HEAD_BYTES_MAX: Final = 16_384  # of an answer to CONNECT; vendors send a few hundred
REFUSAL_BODY_MAX: Final = 2_048  # enough of a refusal's body to hear why
REFUSAL_BODY_S: Final = 1.0  # the diagnosis is not worth a longer wait
CONNECT_S: Final = 5.0  # to one address; residential gateways answer in well under a second
READ_BYTES: Final = 4_096
SOCKS5_CREDENTIAL_MAX: Final = 255  # RFC 1929: one byte of length


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
    """Raises TimeoutError past ``deadline`` (of ``time.monotonic``), EOFError at the end, OSError as sockets do."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._buffer = bytearray()

    def send(self, payload: bytes) -> None:
        self._arm()
        self._sock.sendall(payload)

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        return self._take(count)

    def until(self, mark: bytes, limit: int) -> bytes:
        """Up to and including ``mark``. Raises UpstreamFailed when that is longer than ``limit`` bytes."""
        while (end := self._buffer.find(mark)) < 0:
            if len(self._buffer) >= limit:
                raise UpstreamFailed(Diagnosis.PROTOCOL)
            self._fill()
        return self._take(end + len(mark))

    def some(self) -> bytes:
        """What is there, or what comes next."""
        if not self._buffer:
            self._fill()
        return self._take(len(self._buffer))

    def encrypt(self, server_name: str) -> None:
        """From here on everything is inside TLS with a verified certificate. Raises ssl.SSLError."""
        self._arm()
        self._sock = ssl.create_default_context().wrap_socket(self._sock, server_hostname=server_name)

    def hurry(self, seconds: float) -> None:
        """Moves the deadline nearer."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def close(self) -> None:
        self._sock.close()

    def _fill(self) -> None:
        self._arm()
        chunk = self._sock.recv(READ_BYTES)
        if not chunk:
            raise EOFError
        self._buffer += chunk

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    def _arm(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)


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
    if upstream.protocol == "socks5":
        _socks5(wire, upstream, host, port)
    else:
        _http_connect(wire, upstream, host, port)


def _http_connect(wire: Wire, upstream: ProbeUpstream, host: str, port: int) -> None:
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if upstream.username:
        login = base64.b64encode(f"{upstream.username}:{upstream.password}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {login}")
    wire.send("\r\n".join([*lines, "", ""]).encode())
    head = wire.until(b"\r\n\r\n", HEAD_BYTES_MAX).decode("latin-1")
    version, _, rest = head.partition(" ")
    status = rest[:3]
    if not (version.startswith("HTTP/1.") and status.isascii() and status.isdigit()):
        raise UpstreamFailed(Diagnosis.PROTOCOL)
    if not 200 <= int(status) <= 299:
        raise UpstreamFailed(diagnose_http(int(status), rest + _refusal_body(wire)))


def _refusal_body(wire: Wire) -> str:
    wire.hurry(REFUSAL_BODY_S)
    body = b""
    try:
        while len(body) < REFUSAL_BODY_MAX:
            body += wire.some()
    except (EOFError, OSError):  # TimeoutError is an OSError
        pass
    return body.decode("utf-8", "replace")


def _socks5(wire: Wire, upstream: ProbeUpstream, host: str, port: int) -> None:
    """RFC 1928 with the authentication of RFC 1929."""
    wire.send(b"\x05\x02\x00\x02" if upstream.username else b"\x05\x01\x00")
    version, method = wire.exactly(2)
    if version != 5:
        raise UpstreamFailed(Diagnosis.PROTOCOL)
    if method == 2:
        _socks5_login(wire, upstream)
    elif method != 0:
        raise UpstreamFailed(Diagnosis.CREDENTIAL_REFUSED)
    wire.send(b"\x05\x01\x00" + _socks5_target(host) + port.to_bytes(2, "big"))
    version, reply, _, kind = wire.exactly(4)
    if version != 5:
        raise UpstreamFailed(Diagnosis.PROTOCOL)
    if reply != 0:
        raise UpstreamFailed(diagnose_socks5(reply))
    wire.exactly({1: 4, 4: 16}.get(kind) or wire.exactly(1)[0])
    wire.exactly(2)


def _socks5_login(wire: Wire, upstream: ProbeUpstream) -> None:
    name, word = upstream.username.encode(), upstream.password.encode()
    if max(len(name), len(word)) > SOCKS5_CREDENTIAL_MAX:
        raise UpstreamFailed(Diagnosis.CREDENTIAL_REFUSED, "SOCKS5 carries at most 255 bytes of username or password.")
    wire.send(bytes([1, len(name)]) + name + bytes([len(word)]) + word)
    if wire.exactly(2)[1] != 0:
        raise UpstreamFailed(Diagnosis.CREDENTIAL_REFUSED)


def _socks5_target(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("idna")
        return bytes([3, len(name)]) + name
    return bytes([1 if address.version == 4 else 4]) + address.packed
