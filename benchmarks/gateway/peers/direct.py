"""The bottom line: chips that talk to the provider themselves."""

from __future__ import annotations

from typing import Final

from benchmarks.gateway.install import Tool
from benchmarks.gateway.peer import Command, Peer, Place, nothing_to_install


def _start(_place: Place, _tool: Tool) -> Command:
    return Command(())


NO_GATEWAY: Final = Peer(
    key="none",
    title="no gateway",
    as_run="chips hold the provider's password",
    cannot="",
    start=_start,
    install=nothing_to_install,
    login="upstream",
)
