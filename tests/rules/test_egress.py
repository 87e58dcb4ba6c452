"""Where a chip may go: names on the list and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.domain.rules.egress import Allowed, EgressPolicy, normal_host

POLICY = EgressPolicy()


@pytest.mark.parametrize(
    ("host", "port", "passed_on"),
    [
        ("web.whatsapp.com", 443, "web.whatsapp.com"),
        ("whatsapp.net", 443, "whatsapp.net"),
        ("g.whatsapp.net", 5222, "g.whatsapp.net"),
        ("media-gru2-1.cdn.whatsapp.net", 443, "media-gru2-1.cdn.whatsapp.net"),
        ("WEB.WhatsApp.COM.", 443, "web.whatsapp.com"),
        ("a_b.whatsapp.net", 443, "a_b.whatsapp.net"),
    ],
)
def test_whatsapp_is_allowed(host: str, port: int, passed_on: str) -> None:
    assert POLICY.judge(host, port) == Allowed(passed_on, port)


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "whatsapp.com.evil.com",
        "evilwhatsapp.com",
        "whatsapp.com..",
        ".whatsapp.com",
        "a..whatsapp.com",
        "-a.whatsapp.com",
        "a-.whatsapp.com",
        "whatsapp.org",
        "com",
        "",
        ".",
        "localhost",
        "web.whatsapp.com\x00.evil.com",
        "web.whatsapp.com/",
        "user@web.whatsapp.com",
        "web.whatsapp.com:443",
        "web whatsapp.com",
        "web\u3002whatsapp\u3002com",
        "ｗｅｂ.whatsapp.com",
        "web.whatsapp.c\u043em",
        "x" * 250 + ".whatsapp.com",
        "y" * 64 + ".whatsapp.com",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert POLICY.judge(host, 443) == "host_not_allowed"


ADDRESSES = [
    "127.0.0.1",
    "157.240.12.53",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.1.",
    "0",
    "::1",
    "[::1]",
    "::ffff:127.0.0.1",
    "0:0:0:0:0:0:0:1",
    "fe80::1%eth0",
    "2a03:2880:f20c:c5:face:b00c::167",
    "169.254.169.254",
    "１２７.0.0.1",
]


@pytest.mark.parametrize("host", ADDRESSES)
def test_no_address_is_allowed_in_any_disguise(host: str) -> None:
    assert POLICY.judge(host, 443) == "host_not_allowed"


@pytest.mark.parametrize("host", ["a.1", "x.0x7f", "127.0.0.1"])
def test_a_suffix_never_lets_an_address_through(host: str) -> None:
    assert EgressPolicy(["*.a", "*.test"]).judge(host, 443) == "host_not_allowed"


@pytest.mark.parametrize("port", [0, 25, 80, 442, 5223, 8443, 65535, 65536, -1])
def test_other_ports_are_not_allowed(port: int) -> None:
    assert POLICY.judge("web.whatsapp.com", port) == "port_not_allowed"


def test_a_host_off_the_list_is_told_before_its_port() -> None:
    assert POLICY.judge("example.com", 25) == "host_not_allowed"


def test_the_settings_add_hosts_suffixes_and_ports() -> None:
    policy = EgressPolicy(["Example.com", "*.media.test", "127.0.0.1", "[0:0::1]", "localhost"], [8443])
    assert policy.judge("example.com", 8443) == Allowed("example.com", 8443)
    assert policy.judge("a.b.media.test.", 443) == Allowed("a.b.media.test", 443)
    assert policy.judge("127.0.0.1", 443) == Allowed("127.0.0.1", 443)
    assert policy.judge("::1", 443) == Allowed("::1", 443)
    assert policy.judge("LOCALHOST", 443) == Allowed("localhost", 443)
    assert policy.judge("media.test", 443) == "host_not_allowed"
    assert policy.judge("sub.example.com", 443) == "host_not_allowed"
    assert policy.judge("127.0.0.2", 443) == "host_not_allowed"
    assert policy.judge("127.1", 443) == "host_not_allowed"
    assert policy.judge("web.whatsapp.com", 5222) == Allowed("web.whatsapp.com", 5222)


@pytest.mark.parametrize(
    "entry", ["", "*", "*.", "a b", "*.*.com", "http://a", "a:443", "*.1", "ä.com", "a/b", "*.127.0.0.1"]
)
def test_an_entry_that_is_no_host_is_refused_by_name(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a host name"):
        EgressPolicy([entry])


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_an_entry_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="not a port"):
        EgressPolicy([], [port])


@given(st.text(max_size=40))
def test_whatever_is_allowed_is_below_whatsapp(host: str) -> None:
    judged = POLICY.judge(host, 443)
    if isinstance(judged, Allowed):
        assert judged.host.rpartition(".")[2] in ("com", "net")
        assert judged.host.endswith(("whatsapp.com", "whatsapp.net"))


@given(st.from_regex(r"\A[a-zA-Z0-9._:%\[\]-]{1,30}\Z"))
def test_a_normal_host_stays_as_it_is(host: str) -> None:
    normal = normal_host(host)
    if normal is not None:
        assert normal_host(normal) == normal
        assert normal == normal.lower()
