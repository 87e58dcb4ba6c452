"""Pasted lists of static proxies: ``host:port``, ``host:port:user:pass`` or a URL, one a line.

In the colon form the password is all that follows the third colon, as it stands; in a URL user and password are
percent-decoded (RFC 3986 §2.1). An IPv6 address is written in brackets. Empty lines and ``#`` comments are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from whago.domain.rules.upstream_urls import proxy_url
from whago.providers.presets import Protocol

LINES_MAX: Final = 10_000  # more is a mistake, and would hold a request for seconds
LINE_CHARS_MAX: Final = 1_000  # host 253, user and password 255 each, percent-encoded
CREDENTIAL_BYTES_MAX: Final = 255  # RFC 1929 carries each length in one byte

_SCHEMES: Final = {"http": "http", "https": "http", "socks5": "socks5", "socks5h": "socks5", "socks": "socks5"}
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_URL_START: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_BRACKETED: Final = re.compile(r"\[([^\]]*)\](?::(.*))?")


@dataclass(frozen=True, slots=True)
class ListedProxy:
    """One address of a list. ``username`` is empty when it asks for no credential."""

    protocol: Protocol
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    number: int = field(default=0, compare=False)  # of its line, from 1

    @property
    def url(self) -> str:
        """``scheme://host:port``, without the credential."""
        return proxy_url(self.protocol, self.host, self.port)

    @property
    def address(self) -> str:
        """``host:port``: two protocols at one port are one proxy."""
        return self.url.partition("://")[2]

    @property
    def credentials(self) -> dict[str, str] | None:
        """What goes into the vault; None when there is nothing to keep."""
        return {"username": self.username, "password": self.password} if self.username else None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was left out. ``number`` counts from 1; ``reason`` never repeats the line: it may hold a secret."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class StaticList:
    """``duplicates`` are the numbers of lines that name an address again."""

    proxies: Sequence[ListedProxy]
    bad_lines: Sequence[BadLine]
    duplicates: Sequence[int]


class _Unreadable(Exception):
    """``args[0]`` is the sentence for the line."""


def read_static_list(text: str, *, default_protocol: Protocol = "http") -> StaticList:
    """Reads what can be read and tells the rest by number. ``default_protocol`` is for lines that are no URL."""
    proxies: dict[tuple[str, int, str], ListedProxy] = {}
    bad_lines, duplicates = [], []
    for number, line in enumerate(text.lstrip("\ufeff").splitlines(), start=1):
        if number > LINES_MAX:
            bad_lines.append(BadLine(number, f"A list has at most {LINES_MAX} lines; the rest was left out."))
            break
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        try:
            proxy = _read_line(content, default_protocol)
        except _Unreadable as wrong:
            bad_lines.append(BadLine(number, wrong.args[0]))
            continue
        key = (proxy.host, proxy.port, proxy.username)
        if key in proxies:
            duplicates.append(number)
        else:
            proxies[key] = replace(proxy, number=number)
    return StaticList(list(proxies.values()), bad_lines, duplicates)


def _read_line(line: str, default_protocol: Protocol) -> ListedProxy:
    if len(line) > LINE_CHARS_MAX:
        raise _Unreadable(f"The line has more than {LINE_CHARS_MAX} characters.")
    proxy = _read_url(line) if _URL_START.match(line) else _read_colons(line, default_protocol)
    for value in (proxy.username, proxy.password):
        if len(value.encode("utf-8", "surrogatepass")) > CREDENTIAL_BYTES_MAX:
            raise _Unreadable(f"User and password have at most {CREDENTIAL_BYTES_MAX} bytes each.")
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise _Unreadable("User and password cannot hold control characters.")
    if ":" in proxy.username:
        raise _Unreadable("A user cannot hold a colon (RFC 7617).")
    return proxy


def _read_url(line: str) -> ListedProxy:
    try:
        url = urlsplit(line)
        host, port = url.hostname, url.port
    except ValueError:
        raise _Unreadable("The host or port of the URL is not valid.") from None
    protocol = _SCHEMES.get(url.scheme)
    if protocol is None:
        raise _Unreadable("The URL must start with http:// or socks5://.")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise _Unreadable("Nothing may follow the port. Percent-encode / ? # @ and : in user and password.")
    if not host or port is None:
        raise _Unreadable("The URL needs a host and a port.")
    return ListedProxy(
        protocol=cast("Protocol", protocol),
        host=_checked_host(host, bracketed=":" in host),
        port=_checked_port(str(port)),
        username=unquote(url.username or ""),
        password=unquote(url.password or ""),
    )


def _read_colons(line: str, protocol: Protocol) -> ListedProxy:
    bracketed = _BRACKETED.fullmatch(line)
    host, _, rest = (bracketed[1], ":", bracketed[2] or "") if bracketed else line.partition(":")
    port, *credential = rest.split(":", 2)
    if len(credential) == 1:
        raise _Unreadable("A user needs a password: host:port:user:pass.")
    username, password = credential or ("", "")
    checked = _checked_host(host, bracketed=bool(bracketed))
    return ListedProxy(protocol, checked, _checked_port(port), username, password)


def _checked_host(host: str, *, bracketed: bool) -> str:
    if bracketed:
        try:
            return str(IPv6Address(host))
        except ValueError:
            raise _Unreadable("What is in brackets is not an IPv6 address.") from None
    name = host.lower().removesuffix(".")
    if not _HOST.fullmatch(name):
        raise _Unreadable("There is no valid host. Write host:port, host:port:user:pass or a URL.")
    return name


def _checked_port(port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise _Unreadable("The port is not a number from 1 to 65535.")
    return int(port)
