"""The two languages that a client may speak to the provider, as bytes: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5
(RFC 1928, RFC 1929). Pure functions; every length is bounded by the caller."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

HEAD_BYTES_MAX: Final = 16_384  # what common proxies accept as request head
HEAD_END: Final = b"\r\n\r\n"

_REQUEST_LINE: Final = re.compile(rb"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.[01]")
_AUTHORITY: Final = re.compile(rb"([A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\]):([0-9]{1,5})")
_HEADER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\r\n\0]*)")

SOCKS_VERSION: Final = 5
SOCKS_USERPASS: Final = 2
SOCKS_GRANTED_METHOD: Final = b"\x05\x02"
SOCKS_NO_METHOD: Final = b"\x05\xff"
SOCKS_AUTH_OK: Final = b"\x01\x00"
SOCKS_AUTH_FAILED: Final = b"\x01\x01"

REASONS: Final = {
    200: "Connection Established",
    400: "Bad Request",
    402: "Payment Required",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    522: "Connection Timed Out",
    525: "No Exit Found",
}
_SOCKS_CODES: Final = {402: 2, 403: 2, 405: 7, 407: 2, 490: 3, 502: 5, 504: 4, 522: 4, 525: 3}  # RFC 1928 §6; else 1


class Refusal(Exception):
    """The provider says no. ``status`` is HTTP's; ``code`` is the vendor's own number where it has one.

    ``proxy_status``: what it says of the target that it could not reach (RFC 9209), as a header's value.
    """

    def __init__(self, status: int, text: str, code: int | None = None, proxy_status: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code
        self.proxy_status = proxy_status

    @classmethod
    def of_target(cls, status: int, text: str, error: str, host: str) -> Refusal:
        """The target cannot be reached. ``error``: a name of RFC 9209 section 2.3."""
        return cls(status, text, proxy_status=f'simulated-provider; error={error}; next-hop="{host}"')


@dataclass(frozen=True, slots=True)
class Connect:
    """A parsed CONNECT: where to, and as whom (empty strings when no credential came)."""

    host: str
    port: int
    username: str
    password: str


def parse_connect(head: bytes) -> Connect:
    """Read a request head that ends with the empty line. Raises :class:`Refusal` (400, 405, 407)."""
    line, *header_lines = head[: -len(HEAD_END)].split(b"\r\n")
    request = _REQUEST_LINE.fullmatch(line)
    if request is None:
        raise Refusal(400, "malformed request line")
    if request[1] != b"CONNECT":
        raise Refusal(405, "only CONNECT is served")
    authority = _AUTHORITY.fullmatch(request[2])
    if authority is None or not 1 <= int(authority[2]) <= 65535:
        raise Refusal(400, "CONNECT needs host:port")
    username, password = _credential(header_lines)
    return Connect(authority[1].decode().strip("[]"), int(authority[2]), username, password)


def _credential(header_lines: list[bytes]) -> tuple[str, str]:
    given = ("", "")
    for header_line in header_lines:
        header = _HEADER.fullmatch(header_line)
        if header is None:
            raise Refusal(400, "malformed header")
        if header[1].lower() == b"proxy-authorization":
            given = parse_basic(header[2].strip(b" \t"))
    return given


def parse_basic(value: bytes) -> tuple[str, str]:
    """Username and password of ``Basic …`` (RFC 7617). Raises :class:`Refusal` 407 for anything else."""
    scheme, _, encoded = value.partition(b" ")
    try:
        username, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise Refusal(407, "malformed Proxy-Authorization") from None
    if scheme.lower() != b"basic" or not colon:
        raise Refusal(407, "Proxy-Authorization must be Basic")
    return username, password


def http_established() -> bytes:
    """The answer that opens a tunnel."""
    return b"HTTP/1.1 200 Connection Established\r\n\r\n"


def http_refusal(refusal: Refusal) -> bytes:
    """The answer that opens none, with a short body that says why."""
    body = refusal.text.encode() + b"\n"
    if refusal.code is not None:
        body = json.dumps({"code": refusal.code, "msg": refusal.text}).encode() + b"\n"
    lines = [
        f"HTTP/1.1 {refusal.status} {REASONS.get(refusal.status, 'Refused')}",
        f"Content-Type: {'application/json' if refusal.code is not None else 'text/plain; charset=utf-8'}",
        f"Content-Length: {len(body)}",
        f"X-Error-Description: {refusal.text}",
        *([f"X-Error-Code: {refusal.code}"] if refusal.code is not None else []),
        *([f"Proxy-Status: {refusal.proxy_status}"] if refusal.proxy_status else []),
        *(['Proxy-Authenticate: Basic realm="proxy"'] if refusal.status == 407 else []),
        *(["Allow: CONNECT"] if refusal.status == 405 else []),
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + HEAD_END + body


def socks_reply(code: int, address: str | int = 0, port: int = 0) -> bytes:
    """A reply to a SOCKS5 request (RFC 1928 §6) with an IPv4 bound address, all zeros in a refusal."""
    return bytes((SOCKS_VERSION, code, 0, 1)) + IPv4Address(address).packed + port.to_bytes(2)


def socks_code(status: int) -> int:
    """The SOCKS5 reply code nearest to an HTTP status."""
    return _SOCKS_CODES.get(status, 1)


def socks_host(kind: int, raw: bytes) -> str:
    """The target of a SOCKS5 request. Raises :class:`Refusal` 400 for a name that is none."""
    if kind == 1:
        return str(IPv4Address(raw))
    if kind == 4:
        return str(IPv6Address(raw))
    if not re.fullmatch(rb"[A-Za-z0-9._:-]{1,255}", raw):
        raise Refusal(400, "malformed host name")
    return raw.decode()
