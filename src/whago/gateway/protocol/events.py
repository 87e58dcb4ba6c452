"""What the protocol machines tell their shell."""

from __future__ import annotations

from dataclasses import dataclass, field

from whago.providers.handshake.events import Established, Refuse, Say, UpstreamEvent

__all__ = ["ClientEvent", "Credential", "Established", "Refuse", "Say", "Target", "UpstreamEvent"]


@dataclass(frozen=True, slots=True)
class Credential:
    """The client says who it is. Answer with ``authenticated()`` or ``refuse()``."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the client wants to go. ``host`` is ASCII as it was sent; IPv6 without brackets. Port 0–65535."""

    host: str
    port: int


ClientEvent = Say | Credential | Target | Refuse
