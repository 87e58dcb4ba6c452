"""Where a CONNECT really goes. There is no DNS here and no way out: only loopback is ever dialled.

Rules map host patterns to loopback addresses (``*.whatsapp.net:443=127.0.0.1:8443``; without a port, any port). A
literal 127.x.y.z and ``localhost`` reach themselves; every other name is unknown, without a question to any resolver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Final

_LOOPBACK: Final = IPv4Network("127.0.0.0/8")


class TargetRefused(Exception):
    """The target may not or cannot be dialled; ``status`` is the HTTP status to answer."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TargetRule:
    """``host`` is a name or ``*.suffix`` (any depth below it); ``port`` None means any port."""

    host: str
    port: int | None
    to_host: str
    to_port: int

    @classmethod
    def parse(cls, text: str) -> TargetRule:
        """Read ``HOST[:PORT]=ADDRESS:PORT``. Raises ValueError with a sentence."""
        pattern, separator, target = text.partition("=")
        host, _, port = pattern.partition(":")
        to_host, _, to_port = target.partition(":")
        try:
            rule = cls(host.lower(), int(port) if port else None, str(IPv4Address(to_host)), int(to_port))
        except ValueError as wrong:
            raise ValueError(f"{text!r} is not of the form HOST[:PORT]=ADDRESS:PORT ({wrong})") from wrong
        if not separator or not host or IPv4Address(to_host) not in _LOOPBACK:
            raise ValueError(f"{text!r} must lead to a loopback address")
        return rule

    def matches(self, host: str, port: int) -> bool:
        """Whether a target (host in lower case) falls under this rule."""
        below = self.host.startswith("*.") and host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return (self.port is None or self.port == port) and (below or host == self.host)


class TargetMap:
    """Rules in order: the first that matches decides."""

    def __init__(self, rules: Sequence[TargetRule]) -> None:
        self._rules = tuple(rules)

    def resolve(self, host: str, port: int) -> tuple[str, int]:
        """The loopback address to dial. Raises :class:`TargetRefused`: 403 beyond loopback, 502 for unknown names."""
        name = host.lower().rstrip(".")
        for rule in self._rules:
            if rule.matches(name, port):
                return rule.to_host, rule.to_port
        if name == "localhost" or name.endswith(".localhost"):
            return "127.0.0.1", port
        return _literal(name), port


def _literal(name: str) -> str:
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        raise TargetRefused(502, "the name of the target does not resolve") from None
    if isinstance(address, IPv4Address) and address in _LOOPBACK:
        return str(address)
    raise TargetRefused(403, "the simulated provider only reaches loopback addresses")
