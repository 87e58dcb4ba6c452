"""What the data plane asks of the control plane, as values and one Protocol.

Bytes are integers on the raw upstream socket. Times are aware UTC. Counters are *absolute*: a report repeats what a
tunnel has moved so far in one clock hour at one price, so a replay is harmless and a lost report loses nothing.

Leases follow Diameter credit control (RFC 8506) in a cumulative form: for one gateway boot, user and billing month the
control plane answers how many bytes this boot may have used *in all* so far. A boot never forwards past that figure.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Upstream:
    """How to dial the provider for one chip. ``password`` never reaches a log or a repr."""

    protocol: Literal["http", "socks5"]
    host: str
    port: int
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChipPass:
    """A chip that may leave: its owner, its assignment, its upstream and the price now in force."""

    chip_id: UUID
    user_id: UUID
    assignment_id: UUID
    proxy_id: UUID
    provider_id: UUID
    price_id: int
    credential_hash: bytes = field(repr=False)  # SHA-256 of the chip's gateway token
    upstream: Upstream
    whose: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """``whose``: the ids' 64 bytes as the counter file keeps them; made once for all tunnels under this pass."""
        ids = (self.user_id, self.chip_id, self.proxy_id, self.assignment_id)
        object.__setattr__(self, "whose", b"".join(each.bytes for each in ids))


@dataclass(frozen=True, slots=True)
class Refused:
    """The chip may not leave; ``reason`` is a key of ``protocol.refusal.REFUSALS``.

    ``credential_hash`` is there when the chip is known, so that only its owner learns the reason.
    """

    reason: str
    credential_hash: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """``granted_bytes``: cumulative for (boot, user, month); None when nothing stops the running tunnels.

    ``admits``: whether new tunnels of the user may start. ``valid_s``: seconds from now after which the gateway stops
    using the lease (the control plane counts it as expired later than that).
    """

    granted_bytes: int | None
    admits: bool
    valid_s: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The rest of the quota is leased elsewhere and has been called back: ask again in ``retry_s`` seconds."""

    retry_s: float


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The month's quota is spent: refuse new tunnels with 402 and close the running ones."""


LeaseAnswer = Grant | Wait | Exhausted


@dataclass(slots=True)
class TunnelUsage:
    """Absolute counters of one tunnel in one clock hour at one price. Key: (boot, tunnel_id, hour, price_id).

    Not frozen, because one is made for every tunnel of every report, and freezing doubles its price.
    """

    tunnel_id: int
    user_id: UUID
    chip_id: UUID
    proxy_id: UUID
    assignment_id: UUID
    price_id: int
    hour: datetime  # start of the clock hour, UTC
    bytes_up: int
    bytes_down: int
    overhead: int  # the exchange with the upstream before the tunnel, both directions
    started_us: int  # first byte of this row, in microseconds since 1970
    last_us: int  # last byte of this row


@dataclass(frozen=True, slots=True)
class ProxyDials:
    """What came of the attempts to open tunnels under one assignment.

    ``outcome``: "established" or a key of ``REFUSALS``. ``status``: the upstream's own status or reply code, or 0.
    ``took_ms``: of the established ones together. A hint for health scores, not an account: a count is sent once, and
    lost or doubled when its report is.
    """

    assignment_id: UUID
    proxy_id: UUID
    outcome: str
    count: int
    status: int = 0
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What changed since the last report that was answered. ``release`` gives back unused leases in the same step.

    A committed report, also an empty one, renews every lease of the boot: each is valid for its time again.
    """

    usages: Sequence[TunnelUsage]
    release: Sequence[tuple[UUID, date]] = ()
    open_tunnels: int = 0
    dials: Sequence[ProxyDials] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """Something a gateway may have cached is no longer true.

    chip, user, proxy, provider: drop passes that carry this id and authorise again; tunnels whose chip is refused, or
    whose assignment or upstream changed, end. A provider's new price starts new usage rows without ending tunnels.
    quota: report, give the user's unused lease back and ask again (``id`` None means every user).
    resync: the subscription was interrupted; treat everything cached as stale.
    ``answer_to``: somebody waits to hear, under this token, that the change is followed by every running tunnel.
    """

    kind: Literal["chip", "user", "proxy", "provider", "quota", "resync"]
    id: UUID | None = None
    answer_to: UUID | None = None


class Control(Protocol):
    """The control plane as one gateway boot sees it. Every call may raise ``ControlUnavailable``."""

    boot_id: UUID

    async def authorise(self, chip_id: UUID) -> ChipPass | Refused: ...

    async def lease(self, user_id: UUID, month: date, want_bytes: int) -> LeaseAnswer:
        """Ask for ``want_bytes`` more for this boot. ``want_bytes`` 0 asks only whether new tunnels are admitted."""
        ...

    async def report(self, report: Report) -> None:
        """Returned means committed."""
        ...

    async def settle(self, boot_id: UUID, usages: Sequence[TunnelUsage]) -> None:
        """Commit the last counters of a dead boot, then give its unused leases back. Idempotent.

        Raises CountersRefused when asking again would change nothing.
        """
        ...

    def changes(self) -> AsyncIterator[Change]:
        """Never ends by itself; reconnects and then yields ``resync``."""
        ...

    async def followed(self, token: UUID) -> None:
        """Tell whoever waits under ``token`` that this boot follows the change."""
        ...


class ControlUnavailable(Exception):
    """The control plane did not answer in time; what was sent may or may not have been committed.

    When this is raised, that is decided: nothing of the call is committed later.
    """


class CountersRefused(Exception):
    """What a counter file holds can never be committed here. The message says why, as the end of a sentence."""
