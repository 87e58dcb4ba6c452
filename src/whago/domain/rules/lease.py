"""How many bytes a gateway may reserve before it forwards them (after Diameter credit control, RFC 8506).

Invariant: committed + outstanding ≤ limit at any instant. Leases shrink as the limit nears, so that the last bytes are
spread over the gateways that ask, and the whole limit can be used.
"""

from __future__ import annotations

from dataclasses import dataclass

from whago.domain.rules.thresholds import OnLimit, is_spent

MIN_LEASE_BYTES = 16 * 1024  # one small chunk; below it asking costs more than it moves
MAX_LEASE_BYTES = 1024 * 1024 * 1024  # what one gateway can hold unspent for one customer; it can be called back
SHARE = 4  # a lease takes at most a quarter of what is left, so that three more gateways find some

GATEWAY_VALID_S = 60.0  # the gateway stops using a lease after this long without an answer: a database restart fits in
SERVER_VALID_S = 90.0  # the server counts it as expired later than that, whatever the clocks' drift
RECALL_RETRY_S = 0.15  # time for the other gateways to hear the recall and give back


@dataclass(frozen=True, slots=True)
class Give:
    """Reserve ``lease_bytes`` more. ``admits``: enough is left for a new tunnel to be of use."""

    lease_bytes: int
    admits: bool = True


@dataclass(frozen=True, slots=True)
class Unmetered:
    """Nothing stops running tunnels; ``admits`` tells whether new ones may start."""

    admits: bool


@dataclass(frozen=True, slots=True)
class Recall:
    """What is left is leased to other gateways: call it back and ask again."""


@dataclass(frozen=True, slots=True)
class Spent:
    """The month is over for this customer."""


LeaseDecision = Give | Unmetered | Recall | Spent


def decide_lease(
    *, limit: int | None, on_limit: OnLimit, committed: int, own_outstanding: int, other_outstanding: int, want: int
) -> LeaseDecision:
    """All in bytes. ``own_outstanding`` is what the asking gateway holds but has not reported as used."""
    if limit is None or on_limit is OnLimit.BILL:
        return Unmetered(admits=True)
    if on_limit is OnLimit.BLOCK_NEW:
        return Unmetered(admits=not is_spent(committed, limit))
    free = limit - committed - own_outstanding - other_outstanding
    admits = not is_spent(committed, limit)
    if free > 0:
        return Give(lease_size(free, want), admits)
    if own_outstanding > 0 and want == 0:
        return Give(0, admits)
    return Recall() if other_outstanding > 0 and committed + own_outstanding < limit else Spent()


def lease_size(free: int, want: int) -> int:
    """Between 0 and ``free`` bytes: what was wanted, at most a share of what is left."""
    share = max(free // SHARE, MIN_LEASE_BYTES)
    return min(max(want, 0), MAX_LEASE_BYTES, share, free)
