"""What a chip on our bridge does to spare bytes, and what it then costs to keep it connected.

The figures are measured by ``python -m benchmarks.bridge`` against the local stand-in of WhatsApp's edge, through the
real gateway. Real servers also send presences, receipts and messages: it is the floor, and said so where it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

History = Literal["none", "recent"]

KEEP_ALIVE_DEFAULT_S: Final = 30  # WhatsApp Web's own pace
KEEP_ALIVE_MIN_S: Final = 20  # more often helps nobody and costs half as much again
KEEP_ALIVE_MAX_S: Final = 60  # a connection that broke in silence is noticed after this and five seconds
PING_BYTES: Final = 135  # a ping and its answer, as TLS records: what the gateway counts
LOGIN_BYTES: Final = 6_400  # CONNECT to "open", as it is billed
LOGINS_A_DAY: Final = 2  # residential exits change hands now and then
MONTH_S: Final = 30 * 86_400


@dataclass(frozen=True, slots=True)
class Thrift:
    """``history``: old messages that a new pairing asks for. Full history, media and thumbnails never load themselves.

    ``status_posts``: whether the posts of contacts (status@broadcast) are taken in.
    """

    history: History = "none"
    keep_alive_s: int = KEEP_ALIVE_DEFAULT_S
    status_posts: bool = False

    @property
    def quiet_month_bytes(self) -> int:
        """Bytes a month of a chip that says and hears nothing."""
        return quiet_month_bytes(self.keep_alive_s)

    def kept(self) -> dict[str, Any]:
        """Only what differs from the default: what the database and the bridge are told."""
        usual = asdict(Thrift())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}


def thrift_of(kept: Mapping[str, Any]) -> Thrift:
    """The settings that were kept. What a newer version wrote and this one does not know is left out."""
    known = asdict(Thrift())
    return Thrift(**{name: value for name, value in kept.items() if name in known})


def quiet_month_bytes(keep_alive_s: int) -> int:
    """Bytes a month of a chip that says and hears nothing."""
    return MONTH_S // keep_alive_s * PING_BYTES + 30 * LOGINS_A_DAY * LOGIN_BYTES
