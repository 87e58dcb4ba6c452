"""A proxy's own word about what lies beyond it (RFC 9209)."""

from __future__ import annotations

import pytest

from whago.domain.rules.health import Blame, blame
from whago.gateway.protocol.refusal import REFUSALS
from whago.providers.handshake.events import Refuse
from whago.providers.handshake.http import HttpUpstream
from whago.providers.handshake.http_head import MAX_HEAD_BYTES
from whago.providers.handshake.proxy_status import blames_target

HOST = "web.whatsapp.com"


def answered(status: int, *values: str) -> Refuse:
    """What the gateway makes of a refusal with these Proxy-Status values."""
    upstream = HttpUpstream(HOST, 443, "user", "password")
    lines = [f"HTTP/1.1 {status} No", *(f"Proxy-Status: {value}" for value in values)]
    upstream.receive("\r\n".join([*lines, "", ""]).encode())
    event = upstream.next_event()
    assert isinstance(event, Refuse)
    return event


@pytest.mark.parametrize(
    "value",
    [
        'vendor; error=dns_error; next-hop="web.whatsapp.com"',
        "vendor;next-hop=web.whatsapp.com;error=connection_refused",
        'vendor; error=connection_timeout; next-hop="WEB.WhatsApp.com:443"; details="after 10 s; sorry, really"',
        'first; error=dns_timeout; next-hop=web.whatsapp.com, "the; second, one"; received-status=502',
        "edge, inner; error=destination_ip_unroutable; next-hop=web.whatsapp.com",
    ],
)
def test_a_target_that_the_proxy_names_as_out_of_reach_speaks_against_nobody_here(value: str) -> None:
    event = answered(502, value)
    assert (event.reason, event.status) == ("target_unreachable", 502)
    assert event.reason in REFUSALS
    assert blame(event.reason, event.status) is Blame.NOBODY


@pytest.mark.parametrize(
    "value",
    [
        "vendor; error=dns_error",  # of whose name?
        "vendor; error=connection_refused; next-hop=exit-17.vendor.example",
        "vendor; error=connection_refused; next-hop=other.whatsapp.com",
        "vendor; error=proxy_internal_error; next-hop=web.whatsapp.com",
        "vendor; error=destination_ip_prohibited; next-hop=web.whatsapp.com",
        "one; error=dns_error, other; next-hop=web.whatsapp.com",  # two proxies, neither says both
        'vendor; error=dns_error; next-hop="web.whatsapp.com',
        "; error=dns_error; next-hop=web.whatsapp.com",
        "vendor; details=error=dns_error",
        "",
    ],
)
def test_everything_else_stays_what_the_status_means(value: str) -> None:
    event = answered(502, value)
    assert event.reason == "upstream_refused"
    assert blame(event.reason, event.status) is Blame.PROXY


def test_a_refused_login_is_one_whatever_else_is_said() -> None:
    assert answered(407, f"vendor; error=dns_error; next-hop={HOST}").reason == "upstream_auth_failed"


def test_each_of_several_headers_is_read() -> None:
    assert answered(504, "far; received-status=504", f"near; error=dns_error; next-hop={HOST}").reason == (
        "target_unreachable"
    )


@pytest.mark.parametrize("piece", ['"', '\\"', "x;a=", 'x;a="\\', ",", "x,", "x;", " "])
def test_a_value_made_to_confuse_says_nothing(piece: str) -> None:
    value = (piece * MAX_HEAD_BYTES)[:MAX_HEAD_BYTES].encode()
    assert not blames_target([(b"proxy-status", value)], HOST)
