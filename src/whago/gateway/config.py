"""What one gateway process is told at its start, and the limits it keeps. Every limit says why it is what it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from whago.domain.rules.egress import EgressPolicy

READ_BYTES: Final = 64 * 1024  # one plain read; a tunnel whose reader stalls holds at most one of these per direction
HEAD_READ_BYTES: Final = 4 * 1024  # a handshake read: a CONNECT fits in, and what came behind it stays small
TURN_BYTES: Final = 1024 * 1024  # per tunnel and turn, so that one bulk transfer does not starve the small talk
ACCEPTS_PER_TURN: Final = 64  # the same fairness between new and running tunnels
LISTEN_BACKLOG: Final = 4096  # a burst of reconnects waits in the kernel instead of being reset
MAX_PENDING_HANDSHAKES: Final = 8192  # silent clients cost a socket and 1 KiB each; beyond it the newest are closed
USER_TIMEOUT_S: Final = 180  # unacknowledged or unread bytes: a peer that is gone this long does not come back
KEEPALIVE_IDLE_S: Final = 60  # finds dead peers of idle tunnels; residential NATs forget after a minute or two
KEEPALIVE_INTERVAL_S: Final = 20
LINGER_S: Final = 2.0  # for a refused or cut client to read the last bytes before its socket is closed
LINGER_BYTES: Final = 256 * 1024  # read and thrown away meanwhile; a client that sends more is not listening
FINAL_REPORT_S: Final = 2.0  # at the stop: after it the counter file stays, and the next boot settles it


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. Tests make them small."""

    handshake_s: float = 10.0  # a client sends its whole handshake at once; 10 s is a very slow mobile link
    dial_s: float = 15.0  # residential exits need 1–5 s; clients give up at 20–30 s, and must get our answer before
    attempt_s: float = 5.0  # one address of a provider; the next one still has time within dial_s
    idle_s: float = 900.0  # engines ping every 30 s; 15 minutes of silence is a forgotten tunnel
    half_closed_idle_s: float = 120.0  # one side is gone already, so silence means the other does not know
    tunnels_per_chip: int = 32  # an engine uses 1 to 5 (websocket, media up and down)
    max_tunnels: int | None = None  # None: what RLIMIT_NOFILE allows

    @property
    def first_answer_s(self) -> float:
        """When a handshake is looked at first, whichever step it is in by then."""
        return min(self.handshake_s, self.dial_s)

    @property
    def first_look_s(self) -> float:
        """How often a tunnel is looked at, so that neither idle time is missed."""
        return min(self.idle_s, self.half_closed_idle_s)


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """One gateway process. Port 0 lets the kernel choose (the chosen one is logged and in ``Gateway.address``).

    ``status_port`` None: no status listener. ``splice`` False: never use splice(2). ``wall``: seconds since 1970.
    ``drain_s``: how long running tunnels may go on after SIGTERM. ``report_every_s``: how old unreported usage may get.
    """

    counters_dir: Path
    host: str = "127.0.0.1"
    port: int = 3128
    status_host: str = "127.0.0.1"
    status_port: int | None = None
    egress: EgressPolicy = field(default_factory=EgressPolicy)
    allow_private_upstreams: bool = False
    tz: ZoneInfo = field(default_factory=lambda: ZoneInfo("America/Sao_Paulo"))
    limits: Limits = field(default_factory=Limits)
    drain_s: float = 5.0
    report_every_s: float = 0.5
    reuse_port: bool = False
    splice: bool = True
    handle_signals: bool = True
    wall: Callable[[], float] = time.time
