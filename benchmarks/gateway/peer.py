"""What the suite knows of one gateway: where it comes from, how it is started, and what it cannot do."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from benchmarks.gateway.ends import PROVIDER_PASSWORD, TARGET, USER_PREFIX, FarEnd, Mode
from benchmarks.gateway.install import Cache, Tool

if TYPE_CHECKING:
    from benchmarks.gateway.product import ProductDatabase

CLIENTS: Final = 250  # chips; 5,000 tunnels are then 20 each, an engine's usual handful and some more


@dataclass(frozen=True, slots=True)
class Client:
    """One chip: its credential at the gateway, and the sticky user name that the provider is to see."""

    name: str
    token: str = field(repr=False)
    upstream_user: str

    @property
    def basic(self) -> str:
        return basic(self.name, self.token)

    @property
    def upstream_basic(self) -> str:
        return basic(self.upstream_user, PROVIDER_PASSWORD)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer runs once: an empty folder, its port, the provider's ports, the chips.

    ``product`` is our own database, when ours is among the peers.
    """

    folder: Path
    port: int
    far_end: FarEnd
    clients: Sequence[Client]
    product: ProductDatabase | None = None

    def write(self, name: str, text: str) -> str:
        """Write a file that the peer, possibly as another user, reads; returns its path."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return str(path)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run; ``env`` goes on top of ours."""

    argv: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)


Login = Literal["each", "one", "upstream", "none"]


@dataclass(frozen=True, slots=True)
class Peer:
    """``login``: whose credential a chip shows: its own, one for all, the provider's (the peer passes it on), none.

    ``far_end``: the provider's port that asks for a credential, the one that does not, or the bare origin.
    ``as_run`` and ``cannot`` are clauses for the table.
    """

    key: str
    title: str
    as_run: str
    cannot: str
    start: Callable[[Place, Tool], Command]
    install: Callable[[Cache], Tool]
    mode: Mode = "http"
    login: Login = "each"
    far_end: Literal["auth", "open", "raw"] = "auth"

    def target(self, far_end: FarEnd) -> str:
        return f"127.0.0.1:{far_end.raw}" if self.far_end == "raw" else TARGET

    def credentials(self, clients: Sequence[Client]) -> str:
        """The file that the near end reads."""
        match self.login:
            case "each":
                lines = [client.basic for client in clients]
            case "one":
                lines = [clients[0].basic]
            case "upstream":
                lines = [client.upstream_basic for client in clients]
            case _:
                lines = []
        if self.mode == "socks5":
            lines = [base64.b64decode(line).decode().replace(":", " ", 1) for line in lines]
        return "".join(f"{line}\n" for line in lines)


def make_clients(count: int) -> list[Client]:
    """The same chips in every run: ids and tokens as long as the product's (a UUID and 43 characters)."""
    ids = [uuid.uuid5(uuid.NAMESPACE_URL, f"whago-benchmark-chip-{number}") for number in range(count)]
    return [
        Client(str(chip), base64.urlsafe_b64encode(chip.bytes * 2).decode().rstrip("="), f"{USER_PREFIX}{number:04}")
        for number, chip in enumerate(ids)
    ]


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def nothing_to_install(_: Cache) -> Tool:
    return Tool((), "", Path())
