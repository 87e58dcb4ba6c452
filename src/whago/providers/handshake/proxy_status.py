"""``Proxy-Status`` (RFC 9209): whether a proxy that refused says itself that what lies beyond it cannot be reached.

A status of 502 alone cannot tell a proxy that is broken from a target that does not exist. Only an error that names the
target as its ``next-hop`` is believed; everything else stays what the status means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from whago.providers.handshake.http_head import Fields

NAME: Final = b"proxy-status"
TARGET_ERRORS: Final = frozenset(  # RFC 9209 section 2.3: attempts that failed; a prohibition is the proxy's own doing
    {
        b"dns_timeout",
        b"dns_error",
        b"destination_not_found",
        b"destination_unavailable",
        b"destination_ip_unroutable",
        b"connection_refused",
        b"connection_timeout",
    }
)

# RFC 8941: members (a token or a string, with parameters) parted by commas. Matched from where the last one ended, so
# that a value made to confuse costs one pass.
_QUOTED: Final = rb'"(?:[^"\\]|\\.)*"'
_MEMBER: Final = re.compile(rb"[ \t]*(?:" + _QUOTED + rb'|[^\s;,"]+)')
_PARAMETER: Final = re.compile(rb"[ \t]*;[ \t]*([a-z*][a-z0-9_.*-]*)(?:=(" + _QUOTED + rb'|[^\s;,"]+))?')
_COMMA: Final = re.compile(rb"[ \t]*,")


def blames_target(fields: Fields, host: str) -> bool:
    """Whether one of the proxies on the way says that it could not reach ``host``."""
    values = (value for name, value in fields if name == NAME)
    return any(
        told.get(b"error") in TARGET_ERRORS and _is_host(told.get(b"next-hop", b""), host)
        for value in values
        for told in _members(value)
    )


def _members(value: bytes) -> Iterator[dict[bytes, bytes]]:
    """The parameters of each member, up to where the value is malformed."""
    at = 0
    while member := _MEMBER.match(value, at):
        at = member.end()
        parameters = {}
        while parameter := _PARAMETER.match(value, at):
            parameters[parameter[1]] = (parameter[2] or b"").strip(b'"').lower()
            at = parameter.end()
        yield parameters
        comma = _COMMA.match(value, at)
        if comma is None:
            return
        at = comma.end()


def _is_host(next_hop: bytes, host: str) -> bool:
    """With or without a port behind it."""
    name, _, port = next_hop.rpartition(b":")
    return host.lower().encode() in (next_hop, name if port.isdigit() else b"")
