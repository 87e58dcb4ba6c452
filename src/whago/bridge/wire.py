"""What the Node bridge says of a chip: the shapes of its answers and of its events, as values."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

ChipState = Literal["connecting", "qr", "open", "backoff", "proxy_blocked", "stopped", "logged_out", "replaced"]
RUNNING: Final = frozenset({"connecting", "qr", "open", "backoff", "proxy_blocked"})
EventKind = Literal[
    "session.connecting",
    "session.qr",
    "session.open",
    "session.backoff",
    "session.proxy_blocked",
    "session.closed",
    "session.logged_out",
    "session.replaced",
]


class _Value(BaseModel):
    """Frozen; a field that a newer bridge adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class LastError(_Value):
    """Why the chip is not open. ``code`` is an HTTP status, a WhatsApp code or an error name; ``reason`` is stable."""

    layer: Literal["proxy", "tls", "wa", "bridge"]
    code: int | str
    reason: str


class BridgeChip(_Value):
    """A chip as the bridge runs it. ``phone_number`` has digits only and is there once the chip was paired.

    ``last_error`` of an open chip is a warning: it is connected, and its owner has to do something all the same.
    """

    chip_id: UUID
    state: ChipState
    since: datetime
    phone_number: str | None
    pairing: Literal["qr", "code"]
    history: Literal["none", "recent"]
    keep_alive_s: int | None = None
    status_posts: bool | None = None
    attempt: int
    last_error: LastError | None
    next_retry_at: datetime | None
    phone_seen_at: datetime | None = None

    @property
    def runs(self) -> bool:
        """Whether the bridge goes on by itself, or waits to be told that the gateway lets it through."""
        return self.state in RUNNING


class BridgePairing(_Value):
    """What the phone's owner scans (``qr``: the code's text) or types in (``pairing_code``), until ``expires_at``."""

    qr: str | None
    pairing_code: str | None
    expires_at: datetime


class BridgeChips(_Value):
    """All chips of one bridge process. Another ``boot_id`` than before means that it restarted and runs only these."""

    boot_id: UUID
    started_at: datetime
    items: list[BridgeChip]


class BridgeEvent(_Value):
    """A change of a chip. Take it only when ``seq`` is greater than that of the last event taken of this chip.

    ``epoch`` is that of the hold under which the bridge runs the chip; None while it holds none.
    """

    chip_id: UUID
    boot_id: UUID
    seq: int
    epoch: int | None = None
    at: datetime
    kind: EventKind
    chip: BridgeChip
    pairing: BridgePairing | None


def gateway_urls(address: str, chip_id: UUID, token: str) -> dict[str, str]:
    """How a chip dials the gateway. Both parts of the credential are URL-safe as they are."""
    return {
        "proxy_url": f"http://{chip_id}:{token}@{address}",
        "socks5_url": f"socks5h://{chip_id}:{token}@{address}",
    }
