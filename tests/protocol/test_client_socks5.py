"""SOCKS5 from a client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.protocol.dialogue import cuts, talk_client
from whago.gateway.protocol.client import client_handshake
from whago.gateway.protocol.events import Credential, Refuse, Say, Target
from whago.gateway.protocol.refusal import REFUSALS

METHOD = Say(b"\x05\x02")
WELCOME = Say(b"\x01\x00")


def greeting(*methods: int) -> bytes:
    return bytes([5, len(methods), *methods])


def auth(name: bytes, password: bytes) -> bytes:
    return bytes([1, len(name)]) + name + bytes([len(password)]) + password


def request(kind: int, address: bytes, port: int, command: int = 1) -> bytes:
    return bytes([5, command, 0, kind]) + address + port.to_bytes(2, "big")


def name(host: bytes) -> bytes:
    return bytes([len(host)]) + host


HELLO = greeting(0, 2) + auth(b"chip", b"token")
GOOD = HELLO + request(3, name(b"web.whatsapp.com"), 443)


@given(cuts(GOOD + b"early"))
def test_every_cut_tells_the_same(chunks: list[bytes]) -> None:
    assert talk_client(chunks) == (
        [METHOD, Credential("chip", "token"), WELCOME, Target("web.whatsapp.com", 443)],
        b"early",
    )


@given(st.binary(max_size=60), st.data())
def test_every_cut_of_any_bytes_ends_the_same(tail: bytes, data: st.DataObject) -> None:
    payload = data.draw(st.sampled_from([b"\x05", greeting(2), HELLO])) + tail
    whole = talk_client([payload])
    assert talk_client(data.draw(cuts(payload))) == whole
    assert talk_client([bytes([byte]) for byte in payload]) == whole


@pytest.mark.parametrize(
    ("kind", "address", "host"),
    [
        (1, bytes([127, 0, 0, 1]), "127.0.0.1"),
        (4, bytes(15) + b"\x01", "::1"),
        (3, name(b"A.b-c_d.E"), "A.b-c_d.E"),
    ],
)
def test_address_types(kind: int, address: bytes, host: str) -> None:
    assert talk_client([HELLO + request(kind, address, 443)])[0][-1] == Target(host, 443)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (greeting(0), "bad_credential"),
        (greeting(), "bad_credential"),
        (greeting(2) + b"\x05\x01a\x01b", "bad_request"),
        (greeting(2) + auth(b"\xff\xfe", b"x"), "bad_credential"),
        (HELLO + b"\x04\x01\x00\x01\x00", "bad_request"),
        (HELLO + b"\x05\x01\x07\x01\x00", "bad_request"),
        (HELLO + request(9, b"", 443), "address_type_not_allowed"),
        (HELLO + request(1, bytes(4), 443, command=2), "method_not_allowed"),
        (HELLO + request(1, bytes(4), 443, command=3), "method_not_allowed"),
        (HELLO + request(3, name(b""), 443), "host_not_allowed"),
        (HELLO + request(3, name(b"a b"), 443), "host_not_allowed"),
        (HELLO + request(3, name("ä".encode()), 443), "host_not_allowed"),
        (HELLO + request(3, name(b"a\x00.whatsapp.com"), 443), "host_not_allowed"),
    ],
)
def test_what_is_wrong_is_refused(payload: bytes, reason: str) -> None:
    assert talk_client([payload])[0][-1] == Refuse(reason)


@pytest.mark.parametrize("end", range(len(GOOD)))
def test_an_unfinished_handshake_waits(end: int) -> None:
    events, _ = talk_client([GOOD[:end]]) if end else ([], b"")
    assert not any(isinstance(event, Target | Refuse) for event in events)


def test_a_refusal_speaks_the_words_of_its_step() -> None:
    """No acceptable method, then the credential's status, then the request's reply code."""
    handshake = client_handshake(b"\x05")
    assert handshake.refuse("bad_credential") == b"\x05\xff"
    handshake.receive(b"\x01\x02")
    assert handshake.refuse("bad_credential") == b"\x01\x01"
    handshake.receive(auth(b"a", b"b"))
    handshake.authenticated()
    for reason, refusal in REFUSALS.items():
        assert handshake.refuse(reason) == bytes([5, refusal.socks_reply, 0, 1]) + bytes(6)
        assert 1 <= refusal.socks_reply <= 8
    assert handshake.accept() == bytes([5, 0, 0, 1]) + bytes(6)


def test_the_longest_credential_is_read() -> None:
    payload = greeting(2) + auth(b"n" * 255, b"p" * 255)
    assert talk_client([payload])[0][1] == Credential("n" * 255, "p" * 255)
