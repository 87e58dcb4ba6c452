"""Where a host really is: names resolved once, private addresses refused, and what was checked is what is dialled.

The host of a provider or of a webhook comes from a form. Without this, whoever may fill in that form could make the
product connect to the machine's own network (server-side request forgery), or change the name's answer between the
check and the connection.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

ADDRESSES_MAX: Final = 8  # of one name; dialling more of them would outlast any patience

FIRST_FREE_PORT: Final = 1024
LAST_PORT: Final = 65_535

_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # all that IANA has given out; what is outside leads nowhere public
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four bytes
_COMPATIBLE: Final = IPv6Network("::/96")  # RFC 4291 section 2.5.5.1, long deprecated: the same
_LOCAL_NAMES: Final = ("localhost", ".localhost", ".local", ".internal")


class AddressRefused(Exception):
    """The host is private, or does not exist; ``is_private`` tells which. The message is a sentence."""

    def __init__(self, sentence: str, *, is_private: bool) -> None:
        super().__init__(sentence)
        self.is_private = is_private


def is_private_address(address: str) -> bool:
    """Whether a literal IP is anything but a public unicast address, in whatever dress (IPv4 inside IPv6 too)."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = _embedded(ip)
        if inner is None:
            return ip not in _GLOBAL_UNICAST or not ip.is_global
        ip = inner
    return not ip.is_global or ip.is_multicast


def is_web_port(port: int) -> bool:
    """Whether a web server may listen there: 80, 443 or an unprivileged one, never a mail server's or a shell's."""
    return port in (80, 443) or FIRST_FREE_PORT <= port <= LAST_PORT


def is_private_host(host: str) -> bool:
    """What can be said of a host without a resolver: private literals and names that only mean this network."""
    name = host.strip("[]").lower().removesuffix(".")
    try:
        return is_private_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(_LOCAL_NAMES) or "." not in name


def resolve(host: str, port: int, *, allow_private: bool, timeout_s: float) -> list[str]:
    """The addresses to dial, as the system's resolver orders them. Raises AddressRefused, TimeoutError.

    One private answer refuses the whole name: such a name is meant to confuse.
    """
    lookup = _Lookup(host, port)
    threading.Thread(target=lookup.run, name="resolve", daemon=True).start()  # the resolver knows no time limit
    if not lookup.done.wait(timeout_s):
        raise TimeoutError("the name was not resolved in time")
    if not lookup.found:
        raise AddressRefused(f"The host {host} does not exist.", is_private=False)
    if not allow_private and any(is_private_address(address) for address in lookup.found):
        raise AddressRefused(f"The address of {host} is private. Only public hosts are dialled here.", is_private=True)
    return lookup.found[:ADDRESSES_MAX]


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if address in _NAT64 or address in _COMPATIBLE:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour


@dataclass(slots=True)
class _Lookup:
    host: str
    port: int
    found: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            answers = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            self.found = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except (OSError, UnicodeError):  # UnicodeError: a label that is too long or empty
            self.found = []
        finally:
            self.done.set()
