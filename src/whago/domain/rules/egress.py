"""Where a chip may connect to: default-deny, by host name and port.

Only names on the list pass. An address literal, in whatever disguise (decimal, octal, hexadecimal, IPv6), passes only
when the settings name exactly that literal, because a chip has no business on a bare address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal

BUILT_IN_HOSTS: Final = ("whatsapp.com", "*.whatsapp.com", "whatsapp.net", "*.whatsapp.net")
BUILT_IN_PORTS: Final = (443, 5222)  # HTTPS and websocket; XMPP, which older engines use
MAX_CACHED: Final = 1024  # verdicts: the chips of an installation have tens of targets, asked for at every connection
MAX_HOST_CHARS: Final = 253  # RFC 1035 section 2.3.4, without the trailing dot

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMERIC_LABEL: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")  # what makes a host an IPv4 address to a URL parser (WHATWG)

EgressReason = Literal["host_not_allowed", "port_not_allowed"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """``host`` in the one form to pass on: lower case, no trailing dot, IPv6 without brackets."""

    host: str
    port: int


class EgressPolicy:
    """The allow list. ``extra_hosts`` are exact hosts (also an IP literal or localhost) or ``*.suffix``.

    ``*.suffix`` means names below the suffix, not the suffix itself. Raises ValueError for an entry that is neither.
    """

    def __init__(self, extra_hosts: Iterable[str] = (), extra_ports: Iterable[int] = ()) -> None:
        entries = [*BUILT_IN_HOSTS, *(entry.strip() for entry in extra_hosts)]
        self._suffixes = frozenset(_suffix(entry) for entry in entries if entry.startswith("*."))
        self._exact = frozenset(_exact(entry) for entry in entries if not entry.startswith("*."))
        self._ports = frozenset([*BUILT_IN_PORTS, *(_port(port) for port in extra_ports)])
        self._judge_once = lru_cache(MAX_CACHED)(self._judge)

    def judge(self, host: str, port: int) -> Allowed | EgressReason:
        """``host`` as the client sent it."""
        return self._judge_once(host, port)

    def _judge(self, host: str, port: int) -> Allowed | EgressReason:
        name = normal_host(host)
        if name is None or not self._allows(name):
            return "host_not_allowed"
        return Allowed(name, port) if port in self._ports else "port_not_allowed"

    def _allows(self, name: str) -> bool:
        if name in self._exact:
            return True
        if _is_literal(name):
            return False
        dot = name.find(".")
        while dot >= 0:
            if name[dot + 1 :] in self._suffixes:
                return True
            dot = name.find(".", dot + 1)
        return False


def normal_host(host: str) -> str | None:
    """Lower case, without one trailing dot, addresses in their shortest form; None when it is not a host at all."""
    if not host.isascii():
        return None
    name = host.lower().removesuffix(".")
    if ":" not in name and not name[-1:].isdigit():  # no address ends otherwise
        return name if _is_name(name) else None
    try:
        address = ip_address(name)
    except ValueError:
        return name if _is_name(name) else None
    return None if "%" in name else str(address)


def _is_name(name: str) -> bool:
    return len(name) <= MAX_HOST_CHARS and _NAME.fullmatch(name) is not None


def _is_literal(name: str) -> bool:
    return ":" in name or _NUMERIC_LABEL.fullmatch(name.rpartition(".")[2]) is not None


def _exact(entry: str) -> str:
    name = normal_host(entry.removeprefix("[").removesuffix("]"))
    if name is None:
        raise ValueError(f"{entry!r} is neither a host name, an IP address nor *.suffix")
    return name


def _suffix(entry: str) -> str:
    name = normal_host(entry.removeprefix("*."))
    if name is None or _is_literal(name):
        raise ValueError(f"{entry!r} is neither a host name, an IP address nor *.suffix")
    return name


def _port(port: int) -> int:
    if not 1 <= port <= 65535:
        raise ValueError(f"{port} is not a port between 1 and 65535")
    return port
