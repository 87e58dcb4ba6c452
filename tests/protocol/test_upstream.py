"""Our side of the handshake with a provider's proxy."""

from __future__ import annotations

import base64
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.dialogue import cuts, talk_upstream
from whago.gateway.protocol.events import Established, Refuse
from whago.providers.handshake.http import MAX_INTERIM
from whago.providers.handshake.http_head import MAX_HEAD_BYTES
from whago.providers.handshake.upstream import UpstreamHandshake, upstream_handshake


def http(host: str = "web.whatsapp.com", username: str = "user-session-1", password: str = "pass") -> UpstreamHandshake:
    return upstream_handshake("http", host, 443, username, password)


def socks(host: str = "web.whatsapp.com", username: str = "user", password: str = "pass") -> UpstreamHandshake:
    return upstream_handshake("socks5", host, 443, username, password)


def test_the_http_request() -> None:
    encoded = base64.b64encode("user:é:ß%".encode())
    assert http(username="user", password="é:ß%").start() == (
        b"CONNECT web.whatsapp.com:443 HTTP/1.1\r\nHost: web.whatsapp.com:443\r\n"
        b"Proxy-Authorization: Basic " + encoded + b"\r\n\r\n"
    )


def test_the_http_request_to_an_ipv6_literal_without_credential() -> None:
    assert http("::1", "", "").start() == b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"


@pytest.mark.parametrize(("username", "password"), [("a:b", "c"), ("a\r\nX: y", "c"), ("a", "b\r\n"), ("a\x00", "b")])
def test_a_credential_that_basic_cannot_carry_is_refused(username: str, password: str) -> None:
    with pytest.raises(ValueError, match="colon"):
        http(username=username, password=password)


@given(cuts(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n\x00first\r\n\r\n"))
def test_every_cut_of_a_good_http_answer_opens_the_tunnel(chunks: list[bytes]) -> None:
    _, event, rest = talk_upstream(http(), chunks)
    assert isinstance(event, Established)
    assert rest == b"\x00first\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (b"HTTP/1.1 200\r\n\r\n", Established(b"")),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 99\r\n\r\n", Established(b"")),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Refuse("upstream_auth_failed", 407)),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nbody", Refuse("upstream_refused", 403)),
        (b"HTTP/1.1 302 Found\r\n\r\n", Refuse("upstream_refused", 302)),
        (b"HTTP/1.1 525 No exit\r\n\r\n", Refuse("upstream_refused", 525)),
        (b"HTTP/1.1 101 Switching\r\n\r\n", Refuse("upstream_protocol")),
        (b"HTTP/1.1 099 Low\r\n\r\n", Refuse("upstream_protocol")),
        (b"HTTP/1.1 2000 OK\r\n\r\n", Refuse("upstream_protocol")),
        (b"HTTP/2 200 OK\r\n\r\n", Refuse("upstream_protocol")),
        (b"HTTP/1.1 200 OK\n\n", Refuse("upstream_protocol")),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", Refuse("upstream_protocol")),
        (b"\x05\x00", None),
        (b"SSH-2.0-x\r\n\r\n", Refuse("upstream_protocol")),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES, Refuse("upstream_protocol")),
        (b"HTTP/1.1 100 C\r\n\r\n" * (MAX_INTERIM + 1), Refuse("upstream_protocol")),
        (b"", None),
    ],
)
def test_http_answers(answer: bytes, event: object) -> None:
    assert talk_upstream(http(), [answer])[1] == event
    assert talk_upstream(http(), [bytes([byte]) for byte in answer])[1] == event


SOCKS_ANSWER = b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"


@given(cuts(SOCKS_ANSWER + b"first"))
def test_every_cut_of_a_good_socks_answer_opens_the_tunnel(chunks: list[bytes]) -> None:
    said, event, rest = talk_upstream(socks(), chunks)
    assert isinstance(event, Established)
    assert rest == b"first"
    name = b"web.whatsapp.com"
    assert said == b"\x05\x01\x02\x01\x04user\x04pass\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x01\xbb"


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        (b"\x05\xff", Refuse("upstream_auth_failed", 0xFF)),
        (b"\x05\x00", Refuse("upstream_protocol")),
        (b"\x04\x02", Refuse("upstream_protocol")),
        (b"\x05\x02\x01\x01", Refuse("upstream_auth_failed", 1)),
        (b"\x05\x02\x05\x00", Refuse("upstream_protocol")),
        (b"\x05\x02\x01\x00\x05\x02", Refuse("upstream_refused", 2)),
        (b"\x05\x02\x01\x00\x05\x63", Refuse("upstream_protocol", 0x63)),
        (b"\x05\x02\x01\x00\x05\x00\x00\x02\x00", Refuse("upstream_protocol")),
        (b"\x05\x02\x01\x00\x05\x00\x01\x01\x00", Refuse("upstream_protocol")),
        (b"\x05\x02\x01\x00\x05\x00\x00\x03\x02ab\x00\x50", Established(b"")),
        (b"\x05\x02\x01\x00\x05\x00\x00\x04" + bytes(18), Established(b"")),
        (b"\x05\x02\x01", None),
    ],
)
def test_socks_answers(answer: bytes, event: object) -> None:
    assert talk_upstream(socks(), [answer])[1] == event
    assert talk_upstream(socks(), [bytes([byte]) for byte in answer])[1] == event


def test_socks_without_credential_offers_none() -> None:
    said, event, _ = talk_upstream(socks(username="", password=""), [b"\x05\x00\x05\x00\x00\x01" + bytes(6)])
    assert said.startswith(b"\x05\x01\x00\x05\x01")
    assert event == Established(b"")


def test_an_address_travels_as_what_it_is() -> None:
    said, _, _ = talk_upstream(socks("127.0.0.1"), [SOCKS_ANSWER])
    assert said.endswith(b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb")
    said, _, _ = talk_upstream(socks("::1"), [SOCKS_ANSWER])
    assert said.endswith(b"\x05\x01\x00\x04" + bytes(15) + b"\x01\x01\xbb")


def test_a_credential_that_socks_cannot_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="255"):
        socks(username="u" * 256)


@given(st.sampled_from(["http", "socks5"]), st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_no_answer_breaks_the_parser(protocol: Literal["http", "socks5"], chunks: list[bytes]) -> None:
    _, event, _ = talk_upstream(upstream_handshake(protocol, "a", 1, "u", "p"), chunks)
    assert event is None or isinstance(event, Established | Refuse)


BEGUN = [b"", b"\x05\x02", b"\x05\x02\x01\x00", b"\x05\x02\x01\x00\x05\x00", b"HTTP/1.1 200", b"HTTP/1.1 100 C\r\n\r\n"]


@given(st.sampled_from(["http", "socks5"]), st.sampled_from(BEGUN), st.binary(max_size=60), st.data())
def test_every_cut_of_any_answer_means_the_same(
    protocol: Literal["http", "socks5"], begun: bytes, tail: bytes, data: st.DataObject
) -> None:
    """And every byte behind it is the tunnel's."""
    answer = begun + tail

    def heard(chunks: list[bytes]) -> tuple[bytes, object, bytes]:
        said, event, rest = talk_upstream(upstream_handshake(protocol, "a", 1, "u", "p"), chunks)
        return (said, "established", rest) if isinstance(event, Established) else (said, event, b"")

    whole = heard([answer])
    assert heard(data.draw(cuts(answer))) == whole
    assert heard([bytes([byte]) for byte in answer]) == whole
    assert answer.endswith(whole[2])


@pytest.mark.parametrize(
    "chunks", [[b"\x05\x02\x01\x00\x05\x05\x07"], [b"\x05\x02", b"\x01\x00", b"\x05\x05", b"\x07"]]
)
def test_a_refusal_with_a_strange_reserved_byte_is_a_refusal(chunks: list[bytes]) -> None:
    assert talk_upstream(socks(), chunks)[1] == Refuse("upstream_refused", 5)
