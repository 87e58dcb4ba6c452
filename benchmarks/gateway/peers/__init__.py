"""Every gateway of the comparison, in the order of the table."""

from __future__ import annotations

from typing import Final

from benchmarks.gateway.peer import Peer
from benchmarks.gateway.peers import c_peers, direct, haproxy, node_peers, ours, python_peers

ALL: Final[tuple[Peer, ...]] = (
    direct.NO_GATEWAY,
    ours.PRODUCT,
    ours.DATA_PLANE,
    haproxy.HTTP,
    haproxy.STOCK,
    haproxy.TCP,
    c_peers.THREEPROXY,
    c_peers.GOST,
    c_peers.DANTE,
    c_peers.SQUID,
    c_peers.TINYPROXY,
    c_peers.PRIVOXY,
    node_peers.PROXY_CHAIN,
    node_peers.LUMINATI,
    python_peers.PPROXY,
    python_peers.PROXY_PY,
    python_peers.MITMPROXY,
)
