"""HAProxy, the yardstick: one thread, as every gateway here is one process, and splicing forced on."""

from __future__ import annotations

from typing import Final

from benchmarks.gateway.install import Cache, Tool
from benchmarks.gateway.peer import Command, Peer, Place

# A pipe of 1 MiB instead of the default 64 KiB: HAProxy's best figures here. No logs: there would be one line a tunnel.
_COMMON: Final = """
global
    nbthread 1
    maxconn 7000
    maxpipes 1000
    tune.pipesize 1048576
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


def _start_http(place: Place, tool: Tool) -> Command:
    """Each chip's credential is looked up in a map that holds its own login at the provider."""
    lines = [f"{client.basic} Basic {client.upstream_basic}\n" for client in place.clients]
    chips = place.write("chips.map", "".join(lines))
    return _command(place, tool, _HTTP.format(port=place.port, map=chips, provider=place.far_end.auth))


def _start_tcp(place: Place, tool: Tool) -> Command:
    return _command(place, tool, _TCP.format(port=place.port, provider=place.far_end.auth))


def _command(place: Place, tool: Tool, text: str) -> Command:
    return Command([*tool.argv, "-db", "-f", place.write("haproxy.cfg", _COMMON + text)], tool.env)


HTTP: Final = Peer(
    key="haproxy",
    title="HAProxy, HTTP mode, splice",
    as_run="credential and upstream login of each chip from a map",
    cannot="no metering per chip, no byte limit, credentials only from a file in clear",
    start=_start_http,
    install=_install,
)

TCP: Final = Peer(
    key="haproxy-tcp",
    title="HAProxy, TCP mode, splice",
    as_run="passes the chip's own CONNECT on",
    cannot="no auth, no upstream login (chips hold the provider's password), no metering, no limits",
    start=_start_tcp,
    install=_install,
    login="upstream",
)
