"""HTTP CONNECT from a client."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.dialogue import cuts, talk_client
from whago.gateway.protocol.client import client_handshake
from whago.gateway.protocol.events import Credential, Refuse, Target
from whago.gateway.protocol.refusal import REFUSALS
from whago.providers.handshake.http_head import MAX_FIELDS, MAX_HEAD_BYTES


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


def connect(target: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    return "\r\n".join([f"CONNECT {target} {version}", *fields, "", ""]).encode()


GOOD = connect("web.whatsapp.com:443", "Host: web.whatsapp.com:443", f"Proxy-Authorization: {basic('chip:to:ken')}")


@given(cuts(GOOD + b"early\r\n\r\n\x00bytes"))
def test_every_cut_tells_the_same(chunks: list[bytes]) -> None:
    assert talk_client(chunks) == (
        [Credential("chip", "to:ken"), Target("web.whatsapp.com", 443)],
        b"early\r\n\r\n\x00bytes",
    )


@given(st.data())
def test_every_cut_of_any_bytes_ends_the_same(data: st.DataObject) -> None:
    """Whole and in pieces, a peer's bytes must mean the same, or two readers could be played against each other."""
    lines = st.lists(
        st.sampled_from(
            [
                b"CONNECT a:1 HTTP/1.1",
                b"GET / HTTP/1.1",
                b"Host: a",
                b" folded",
                b"No colon",
                b"X:\x00",
                b"",
                b"\n",
                b"\r",
            ]
        ),
        max_size=8,
    )
    ends = st.sampled_from([b"\r\n", b"\n", b"\r", b"\r\n\r\n"])
    payload = b"".join(line + data.draw(ends) for line in data.draw(lines)) + data.draw(st.binary(max_size=8))
    if not payload:
        return
    whole, rest = talk_client([payload])
    assert talk_client(data.draw(cuts(payload))) == (whole, rest)
    assert talk_client([bytes([byte]) for byte in payload]) == (whole, rest)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("web.whatsapp.com:443", Target("web.whatsapp.com", 443)),
        ("WEB.WhatsApp.com.:5222", Target("WEB.WhatsApp.com.", 5222)),
        ("[2001:db8::1]:443", Target("2001:db8::1", 443)),
        ("127.0.0.1:65535", Target("127.0.0.1", 65535)),
        ("a:0", Target("a", 0)),
    ],
)
def test_targets(target: str, wanted: Target) -> None:
    events, _ = talk_client([connect(target, f"Proxy-Authorization: {basic('a:b')}")])
    assert events == [Credential("a", "b"), wanted]


@pytest.mark.parametrize(
    "target",
    [
        "web.whatsapp.com",
        "web.whatsapp.com:",
        ":443",
        "a:65536",
        "a:0443",
        "a:-1",
        "a:443/",
        "http://a:443",
        "user@a:443",
        "[::1:443",
        "[zz::1]:443",
        "[fe80::1%eth0]:443",
        "a b:443",
        "ä:443",
        "a%2e:443",
        "*",
        "a" * 256 + ":443",
    ],
)
def test_targets_that_are_none(target: str) -> None:
    events, _ = talk_client([connect(target, f"Proxy-Authorization: {basic('a:b')}")])
    assert events == [Refuse("bad_request")]


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Proxy-Authorization: Bearer abc",),
        ("Proxy-Authorization: Basic !!!",),
        ("Proxy-Authorization: Basic " + base64.b64encode(b"no colon").decode(),),
        ("Proxy-Authorization: Basic " + base64.b64encode(b"\xff\xfe:x").decode(),),
        ("Proxy-Authorization: Basic",),
        ("Authorization: Basic YTpi",),
    ],
)
def test_a_missing_or_unreadable_credential_is_asked_for(fields: tuple[str, ...]) -> None:
    assert talk_client([connect("a:443", *fields)])[0] == [Refuse("bad_credential")]


def test_the_scheme_is_case_insensitive_and_the_name_too() -> None:
    encoded = base64.b64encode(b"a:b").decode()
    assert talk_client([connect("a:443", f"PROXY-authorization:   bAsIc  {encoded}\t")])[0][0] == Credential("a", "b")


@pytest.mark.parametrize(
    "head",
    [
        connect("a:443", "Host : a"),
        connect("a:443", "Host: a", " folded"),
        connect("a:443", "No colon"),
        connect("a:443", ": empty"),
        connect("a:443", "X: a\x00b"),
        connect("a:443", "X: a\x7fb"),
        connect("a:443", "Transfer-Encoding: chunked"),
        connect("a:443", "Content-Length: 5"),
        connect("a:443", f"Proxy-Authorization: {basic('a:b')}", f"Proxy-Authorization: {basic('c:d')}"),
        connect("a:443", version="HTTP/2.0"),
        connect("a:443", version="HTTP/1.1 "),
        connect("a:443", version="http/1.1"),
        b"CONNECT  a:443 HTTP/1.1\r\n\r\n",
        b"CONNECT\ta:443 HTTP/1.1\r\n\r\n",
        b"CONNECT a:443\r\n\r\n",
        b"CONNECT a:443 HTTP/1.1\n\n",
        b"CONNECT a:443 HTTP/1.1\rHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x04\x01\x01\xbb",
        b"\x00",
    ],
)
def test_what_is_malformed_is_refused(head: bytes) -> None:
    assert talk_client([head])[0] == [Refuse("bad_request")]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "connect", "TRACE"])
def test_other_methods_are_not_allowed(method: str) -> None:
    head = f"{method} http://a/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    assert talk_client([head])[0] == [Refuse("method_not_allowed")]


def test_a_content_length_of_zero_is_no_content() -> None:
    head = connect("a:443", "Content-Length: 0", f"Proxy-Authorization: {basic('a:b')}")
    assert talk_client([head])[0][-1] == Target("a", 443)


@given(st.integers(-3, 3))
@example(0)
def test_a_head_is_read_up_to_the_limit_and_not_beyond(more: int) -> None:
    plain = connect("a:443", f"Proxy-Authorization: {basic('a:b')}", "X: ")
    head = plain.replace(b"X: ", b"X: " + b"x" * (MAX_HEAD_BYTES - len(plain) + more))
    assert len(head) == MAX_HEAD_BYTES + more
    wanted = Refuse("head_too_large") if more > 0 else Target("a", 443)
    assert talk_client([head])[0][-1] == wanted
    assert talk_client([bytes([byte]) for byte in head])[0][-1] == wanted


def test_an_endless_head_is_refused_when_the_limit_is_reached() -> None:
    assert talk_client([b"CONNECT a:443 HTTP/1.1\r\n"] + [b"X: y\r\n"] * 2000)[0] == [Refuse("head_too_large")]


def test_more_fields_than_the_limit_are_refused() -> None:
    head = connect("a:443", *["X: y"] * (MAX_FIELDS + 1))
    assert talk_client([head])[0] == [Refuse("head_too_large")]


@given(st.binary(min_size=1, max_size=200).filter(lambda raw: raw[0] != 5))
def test_no_bytes_break_the_parser(raw: bytes) -> None:
    events, _ = talk_client([raw])
    assert all(isinstance(event, Credential | Target | Refuse) for event in events)


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_refusal_is_a_whole_http_answer(reason: str) -> None:
    head, _, body = client_handshake(b"C").refuse(reason, 502).decode().partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert start == f"HTTP/1.1 {REFUSALS[reason].status} {REFUSALS[reason].phrase}"
    assert fields["X-Gateway-Reason"] == reason
    assert fields["X-Upstream-Status"] == "502"
    assert int(fields["Content-Length"]) == len(body)
    assert fields["Connection"] == "close"
    assert ("Proxy-Authenticate" in fields) == (REFUSALS[reason].status == 407)
    assert REFUSALS[reason].text in body


def test_no_refusal_has_a_status_that_an_engine_reads_as_an_order() -> None:
    assert not {refusal.status for refusal in REFUSALS.values()} & {401, 410, 411, 428, 429, 440, 500, 515}
