"""Reading ip-check pages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whago.providers.ip_page import SeenFrom, read_ip_page

PAGES = {
    "bare": (b"203.0.113.9\n", SeenFrom("203.0.113.9")),
    "bare json string": (b'"203.0.113.9"', SeenFrom("203.0.113.9")),
    "ipinfo": (
        b'{"ip": "203.0.113.9", "city": "S\xc3\xa3o Paulo", "country": "BR", "org": "AS27699 TELEFONICA", "x": 1}',
        SeenFrom("203.0.113.9", "BR", "AS27699 TELEFONICA"),
    ),
    "ip-api": (
        b'{"status": "success", "country": "Brazil", "countryCode": "BR", "query": "203.0.113.9", "as": "AS27699 V"}',
        SeenFrom("203.0.113.9", "BR", "AS27699 V"),
    ),
    "decodo": (
        b'{"browser": {"name": "curl"}, "isp": {"isp": "VIVO", "asn": 27699}, "proxy": {"ip": "203.0.113.9"},'
        b' "country": {"name": "Brazil", "code": "br"}}',
        SeenFrom("203.0.113.9", "BR", "AS27699"),
    ),
    "httpbin": (b'{"origin": "203.0.113.9, 10.0.0.1"}', SeenFrom("203.0.113.9")),
    "the simulator": (
        b'{"ip": "127.64.3.9", "country": "BR", "city": "x", "asn": 27699, "isp": "Telef"}',
        SeenFrom("127.64.3.9", "BR", "AS27699"),
    ),
    "ipv6": (b'{"ip": "2001:DB8:0::1"}', SeenFrom("2001:db8::1")),
    "nothing known": (b'{"ip": "203.0.113.9", "country": null, "asn": null}', SeenFrom("203.0.113.9")),
}


@pytest.mark.parametrize("name", PAGES)
def test_it_reads_the_page(name: str) -> None:
    body, expected = PAGES[name]
    assert read_ip_page(body) == expected


@pytest.mark.parametrize(
    "body", [b"", b"<html>blocked</html>", b"[]", b"{}", b'{"ip": "none"}', b"[" * 100_000, b"\xff\xfe"]
)
def test_a_page_without_an_address_is_none(body: bytes) -> None:
    assert read_ip_page(body) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)
    )
)
def test_no_json_breaks_it(page: object) -> None:
    seen = read_ip_page(json.dumps(page).encode())
    assert seen is None or seen.ip
