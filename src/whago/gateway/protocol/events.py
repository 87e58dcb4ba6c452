"""What the protocol machines tell their shell."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Say:
    """Send ``payload`` to the peer; the handshake goes on."""

    payload: bytes


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


@dataclass(frozen=True, slots=True)
class Refuse:
    """The handshake is over. ``reason``: a key of ``REFUSALS``; ``status``: the upstream's own status or reply code."""

    reason: str
    status: int = 0


@dataclass(slots=True)
class Established:
    """The upstream has opened the tunnel; ``rest`` came behind its answer and is the tunnel's first payload."""

    rest: bytes


ClientEvent = Say | Credential | Target | Refuse
UpstreamEvent = Say | Established | Refuse
