"""HAProxy, the yardstick: one thread, as every gateway here is one process, and splicing forced on."""

from __future__ import annotations

from typing import Final

from benchmarks.gateway.install import Cache, Tool
from benchmarks.gateway.peer import Command, Peer, Place

# No logs: there would be one line a tunnel.
_COMMON: Final = """
global
    nbthread 1
    maxconn 7000
    maxpipes 1000
    {pipes}
defaults
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    timeout http-request 10s
    option splice-request
    option splice-response
"""

_HTTP: Final = """
frontend chips
    mode http
    bind 127.0.0.1:{port} backlog 4096
    http-request deny deny_status 405 unless METH_CONNECT
    http-request set-var(txn.upstream) req.hdr(Proxy-Authorization),word(2,' '),map_str({map})
    http-request deny deny_status 407 unless {{ var(txn.upstream) -m found }}
    http-request set-header Proxy-Authorization %[var(txn.upstream)]
    default_backend provider
backend provider
    mode http
    server provider 127.0.0.1:{provider}
"""

_TCP: Final = """
listen chips
    mode tcp
    bind 127.0.0.1:{port} backlog 4096
    server provider 127.0.0.1:{provider}
"""


def _install(cache: Cache) -> Tool:
    return cache.debian("haproxy", "haproxy")


# A pipe of 1 MiB, as ours are, instead of the stock 64 KiB: it halves HAProxy's CPU per GB, so this is the yardstick.
_LARGE_PIPES: Final = "tune.pipesize 1048576"
_STOCK_PIPES: Final = "# stock pipes"


def _start_stock(place: Place, tool: Tool) -> Command:
    return _start_http(place, tool, _STOCK_PIPES)


def _start_http(place: Place, tool: Tool, pipes: str = _LARGE_PIPES) -> Command:
    """Each chip's credential is looked up in a map that holds its own login at the provider."""
    lines = [f"{client.basic} Basic {client.upstream_basic}\n" for client in place.clients]
    chips = place.write("chips.map", "".join(lines))
    text = _HTTP.format(port=place.port, map=chips, provider=place.far_end.auth)
    return _command(place, tool, _COMMON.format(pipes=pipes) + text)


def _start_tcp(place: Place, tool: Tool) -> Command:
    text = _TCP.format(port=place.port, provider=place.far_end.auth)
    return _command(place, tool, _COMMON.format(pipes=_LARGE_PIPES) + text)


def _command(place: Place, tool: Tool, text: str) -> Command:
    return Command([*tool.argv, "-db", "-f", place.write("haproxy.cfg", text)], tool.env)


HTTP: Final = Peer(
    key="haproxy",
    title="HAProxy, HTTP mode, splice, pipes of 1 MiB",
    as_run="credential and upstream login of each chip from a map",
    cannot="no metering per chip, no byte limit, credentials only from a file in clear, no say in TCP's pacing",
    start=_start_http,
    install=_install,
)

STOCK: Final = Peer(
    key="haproxy-stock",
    title="HAProxy, HTTP mode, splice, stock pipes",
    as_run=HTTP.as_run,
    cannot=HTTP.cannot,
    start=_start_stock,
    install=_install,
)

TCP: Final = Peer(
    key="haproxy-tcp",
    title="HAProxy, TCP mode, splice, pipes of 1 MiB",
    as_run="passes the chip's own CONNECT on",
    cannot="no auth, no upstream login (chips hold the provider's password), no metering, no limits",
    start=_start_tcp,
    install=_install,
    login="upstream",
)
