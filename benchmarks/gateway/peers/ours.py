"""WHAGO's gateway: as the product runs it, and its data plane alone."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Final

from benchmarks.gateway.install import Cache, Tool, Unavailable
from benchmarks.gateway.peer import Command, Peer, Place

ROOT: Final = Path(__file__).resolve().parents[3]


def _installed(_cache: Cache) -> Tool:
    return Tool((sys.executable,), f"CPython {platform.python_version()}", ROOT)


def _start_product(place: Place, _tool: Tool) -> Command:
    if place.product is None:
        raise Unavailable("its PostgreSQL did not start")
    return place.product.gateway(place.folder, place.port)


def _start_data_plane(place: Place, tool: Tool) -> Command:
    chips = [
        {"name": client.name, "token": client.token, "upstream_user": client.upstream_user} for client in place.clients
    ]
    config = {"folder": str(place.folder), "port": place.port, "provider_port": place.far_end.auth, "chips": chips}
    written = place.write("config.json", json.dumps({**config, "splice": True}))
    argv = [*tool.argv, "-m", "benchmarks.gateway.memory_gateway", written]
    return Command(argv, {"PYTHONPATH": str(ROOT)})


PRODUCT: Final = Peer(
    key="ours",
    title="**WHAGO gateway**",
    as_run="everything on: credential and sticky upstream login of each chip, policy, leases, metering into "
    "PostgreSQL, no pacing towards near chips",
    cannot="",
    start=_start_product,
    install=_installed,
)
DATA_PLANE: Final = Peer(
    key="ours-memory",
    title="WHAGO gateway, control plane in memory",
    as_run="the same without PostgreSQL: what the data plane alone costs",
    cannot="",
    start=_start_data_plane,
    install=_installed,
)
