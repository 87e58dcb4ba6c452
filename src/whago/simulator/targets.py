"""Where a CONNECT really goes. Without rules there is no DNS here and no way out: only loopback is ever dialled.

Rules map host patterns to loopback addresses (``*.whatsapp.net:443=127.0.0.1:8443``; without a port, any port). A
literal 127.x.y.z and ``localhost`` reach themselves; every other name is unknown, without a question to any resolver.
Names that a *reach* lists (``web.whatsapp.com:443``) are the exception: they are looked up and dialled for real, from
this machine's own address, because a loopback exit leads nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from typing import Final

_LOOPBACK: Final = IPv4Network("127.0.0.0/8")


class TargetRefused(Exception):
    """The target may not or cannot be dialled; ``status`` is the HTTP status to answer.

    ``error``: RFC 9209's name for what kept us from it; None when we would not try.
    """

    def __init__(self, status: int, reason: str, error: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.error = error


@dataclass(frozen=True, slots=True)
class Pattern:
    """``host`` is a name or ``*.suffix`` (any depth below it); ``port`` None means any port."""

    host: str
    port: int | None

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read ``HOST[:PORT]``. Raises ValueError with a sentence."""
        host, _, port = text.partition(":")
        if not host or (port and not port.isdecimal()):
            raise ValueError(f"{text!r} is not of the form HOST[:PORT]")
        return cls(host.lower(), int(port) if port else None)

    def matches(self, host: str, port: int) -> bool:
        """Whether a target (host in lower case) falls under this pattern."""
        below = self.host.startswith("*.") and host.endswith(self.host[1:]) and len(host) > len(self.host) - 1
        return (self.port is None or self.port == port) and (below or host == self.host)


@dataclass(frozen=True, slots=True)
class TargetRule:
    """What falls under ``of`` goes to a loopback address."""

    of: Pattern
    to_host: str
    to_port: int

    @classmethod
    def parse(cls, text: str) -> TargetRule:
        """Read ``HOST[:PORT]=ADDRESS:PORT``. Raises ValueError with a sentence."""
        pattern, separator, target = text.partition("=")
        to_host, _, to_port = target.partition(":")
        try:
            rule = cls(Pattern.parse(pattern), str(IPv4Address(to_host)), int(to_port))
        except ValueError as wrong:
            raise ValueError(f"{text!r} is not of the form HOST[:PORT]=ADDRESS:PORT ({wrong})") from wrong
        if not separator or IPv4Address(to_host) not in _LOOPBACK:
            raise ValueError(f"{text!r} must lead to a loopback address")
        return rule


@dataclass(frozen=True, slots=True)
class Inside:
    """A loopback address to dial from the exit."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Outside:
    """A name of the real internet, in lower case."""

    host: str
    port: int


class TargetMap:
    """Rules in order: the first that matches decides; what may be reached for real comes after the rules given."""

    def __init__(self, rules: Sequence[TargetRule], reach: Sequence[Pattern] = (), then: Sequence[TargetRule] = ()):
        self._rules = tuple(rules)
        self._reach = tuple(reach)
        self._then = tuple(then)

    def resolve(self, host: str, port: int) -> Inside | Outside:
        """Where to dial. Raises :class:`TargetRefused`: 403 beyond loopback, 502 for unknown names."""
        name = host.lower().rstrip(".")
        if inside := _led_by(self._rules, name, port):
            return inside
        if any(pattern.matches(name, port) for pattern in self._reach):
            return Outside(name, port)
        if inside := _led_by(self._then, name, port):
            return inside
        if name == "localhost" or name.endswith(".localhost"):
            return Inside("127.0.0.1", port)
        return Inside(_literal(name), port)


def _led_by(rules: Sequence[TargetRule], name: str, port: int) -> Inside | None:
    led = (Inside(rule.to_host, rule.to_port) for rule in rules if rule.of.matches(name, port))
    return next(led, None)


def _literal(name: str) -> str:
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        raise TargetRefused(502, "the name of the target does not resolve", "dns_error") from None
    if isinstance(address, IPv4Address) and address in _LOOPBACK:
        return str(address)
    raise TargetRefused(403, "the simulated provider only reaches loopback addresses")
