"""What the protocol machines tell their shell."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Say:
    """Send ``payload`` to the peer; the handshake goes on."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Refuse:
    """The handshake is over. ``reason``: a key of the gateway's ``REFUSALS``; ``status``: the upstream's own status or
    reply code; ``told``: what the upstream said with it (HTTP: head and what came of the body)."""

    reason: str
    status: int = 0
    told: bytes = field(default=b"", repr=False, compare=False)


@dataclass(slots=True)
class Established:
    """The upstream has opened the tunnel; ``rest`` came behind its answer and is the tunnel's first payload."""

    rest: bytes


UpstreamEvent = Say | Established | Refuse
