"""The username dialect: what is understood, and what hostile usernames and handshakes get."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulator.counting_client import CountingClient, EchoOrigin, connect_head, eventually, seen_ip
from whago.simulator import SimulatedProvider
from whago.simulator.dialect import BadUsername, IdRule, StickyName, parse_username

ACCOUNTS = ("demo", "demo-br", "smart-n8_4")


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        ("demo", StickyName("demo")),
        ("demo-session-12345678", StickyName("demo", "12345678")),
        ("demo-session-aB9-country-br", StickyName("demo", "aB9", "BR")),
        ("demo-country-us-session-1", StickyName("demo", "1", "US")),
        ("demo_area-BR_life-30_session-RvC2kmvBV", StickyName("demo", "RvC2kmvBV", "BR", 30)),
        ("demo_area-US_state-newyork_city-albany_life-5_session-x1", StickyName("demo", "x1", "US", 5)),
        ("demo-br-session-1", StickyName("demo-br", "1")),
        ("demo-br", StickyName("demo-br")),
        ("smart-n8_4_area-PT_life-1440_session-9", StickyName("smart-n8_4", "9", "PT", 1440)),
    ],
)
def test_both_spellings_are_understood(username: str, expected: StickyName) -> None:
    assert parse_username(username, ACCOUNTS, IdRule()) == expected


@pytest.mark.parametrize(
    "username",
    [
        "",
        "dem",
        "demo ",
        "Demo-session-1",
        "demo-session-",
        "demo-session",
        "demosession-1",
        "demo-session-a-b",
        "demo-session-a_b",
        "demo-session-a.b",
        "demo-session-ação",
        "demo-session-1\n",
        "demo-session-1\x00",
        "demo-session-1-session-2",
        "demo-country-br_area-us_session-1",
        "demo-session-1-colour-red",
        "demo_life-0_session-1",
        "demo_life-1441_session-1",
        "demo_life-99999999999999999999_session-1",
        "demo_life-x_session-1",
        f"demo-session-{'9' * 33}",
        f"demo-session-{'9' * 300}",
        "nobody-session-1",
        "../demo-session-1",
        "demo-session-1' OR '1'='1",
    ],
)
def test_anything_else_is_refused_on_both_protocols(provider: SimulatedProvider, username: str) -> None:
    with pytest.raises(BadUsername):
        parse_username(username, ACCOUNTS, IdRule())
    with CountingClient(provider.port) as client:
        assert client.connect(username, "ip.simulated.test:80") == 407
    if 1 <= len(username.encode()) <= 255:
        with CountingClient(provider.port) as client:
            assert client.socks_connect(username, "ip.simulated.test", 80) == 255
    assert provider.sessions() == []


@given(st.text(max_size=300), st.sampled_from(["", "demo", "demo-session-", "demo_area-BR_session-"]))
def test_no_username_breaks_the_parser(text: str, start: str) -> None:
    try:
        name = parse_username(start + text, ACCOUNTS, IdRule())
    except BadUsername:
        return
    assert name.account in ACCOUNTS
    assert name.session is None or (name.session.isalnum() and name.session.isascii() and len(name.session) <= 32)


def test_a_strict_vendor_insists_on_the_length_of_ids() -> None:
    with SimulatedProvider(id_min=9, id_max=12) as provider:
        for length, status in ((8, 407), (9, 200), (12, 200), (13, 407)):
            with CountingClient(provider.port) as client:
                assert client.connect(f"demo-session-{'7' * length}", "ip.simulated.test:80") == status


def test_a_wrong_password_gets_407_the_way_vendors_say_it(provider: SimulatedProvider) -> None:
    with CountingClient(provider.port) as client:
        client.send(connect_head("demo-session-1", "ip.simulated.test:80", password="demo-passwor"))
        answer = client.read_to_end()
    assert answer.startswith(b"HTTP/1.1 407 Proxy Authentication Required\r\n")
    assert b'\r\nProxy-Authenticate: Basic realm="proxy"\r\n' in answer
    assert b"\r\nConnection: close\r\n" in answer
    with CountingClient(provider.port) as client:
        assert client.socks_connect("demo-session-1", "ip.simulated.test", 80, password="wrong") == 255


def test_a_password_with_any_sign_works() -> None:
    password = "p:a@s/s%20 é"
    with SimulatedProvider(accounts=(f"demo:{password}",)) as provider, CountingClient(provider.port) as client:
        assert client.connect("demo-session-1", "ip.simulated.test:80", password=password) == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET http://x.whatsapp.net/ HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"CONNECT x HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT x:0 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT x:65536 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/2.0\r\n\r\n", 400),
        (b"CONNECT  x:443 HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\nHost: x\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\nBad Header: x\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\n folded: x\r\n\r\n", 400),
        (b"CONNECT x:443 HTTP/1.1\r\n\r\n", 407),
        (b"CONNECT x:443 HTTP/1.1\r\nProxy-Authorization: Basic ***\r\n\r\n", 407),
        (b"CONNECT x:443 HTTP/1.1\r\nProxy-Authorization: Bearer abc\r\n\r\n", 407),
        (b"CONNECT x:443 HTTP/1.1\r\nProxy-Authorization: Basic " + base64.b64encode(b"\xff\xfe:x") + b"\r\n\r\n", 407),
        (b"CONNECT x:443 HTTP/1.1\r\nX: " + b" " * 16000 + b"x\r\n\r\n", 407),
        (b"CONNECT x:443 HTTP/1.1\r\nX: " + b"x" * 20000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
def test_a_malformed_request_is_answered_with_what_is_wrong(
    provider: SimulatedProvider, request_bytes: bytes, status: int
) -> None:
    with CountingClient(provider.port) as client:
        client.send(request_bytes)
        assert client.read_response()[0] == status
        assert client.read_to_end() == b""


@pytest.mark.parametrize(
    ("dialogue", "answer"),
    [
        (b"\x05\x01\x00", b"\x05\xff"),
        (b"\x05\x00", b"\x05\xff"),
        (b"\x05\x01\x02\x02\x00\x00", b"\x05\x02\x01\x01"),
        (b"\x05\x01\x02\x01\x00\x00", b"\x05\x02\x01\x01"),
        (b"\x05\x01\x02\x01\x02\xff\xfe\x00", b"\x05\x02\x01\x01"),
    ],
)
def test_a_malformed_socks_dialogue_is_turned_away(provider: SimulatedProvider, dialogue: bytes, answer: bytes) -> None:
    with CountingClient(provider.port) as client:
        client.send(dialogue)
        assert client.read_to_end() == answer


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"\x05\x02\x00\x01\x7f\x00\x00\x01\x00\x50", 7),
        (b"\x05\x03\x00\x03\x01x\x00\x50", 7),
        (b"\x05\x01\x00\x03\x02\x00 \x00\x50", 1),
        (b"\x05\x01\x00\x03\x00\x00\x50", 1),
        (b"\x04\x01\x00\x01\x7f\x00\x00\x01\x00\x50", 1),
        (b"\x05\x01\x00\x09\x7f\x00\x00\x01\x00\x50", 1),
        (b"\x05\x01\x00\x01\x08\x08\x08\x08\x00\x50", 2),
        (b"\x05\x01\x00\x04" + b"\x00" * 15 + b"\x01\x00\x50", 2),
    ],
)
def test_a_socks_request_that_cannot_be_served_gets_its_code(
    provider: SimulatedProvider, request_bytes: bytes, code: int
) -> None:
    with CountingClient(provider.port) as client:
        client.send(b"\x05\x01\x02\x01\x04demo\x0ddemo-password" + request_bytes)
        assert client.read(4) == b"\x05\x02\x01\x00"
        reply = client.read_to_end()
    assert (reply[0], reply[1], len(reply)) == (5, code, 10)


def test_a_socks_dialogue_cut_anywhere_is_the_same_dialogue(provider: SimulatedProvider, origin: EchoOrigin) -> None:
    port = origin.port.to_bytes(2, "big")
    credential = b"\x01\x0edemo-session-1\x0ddemo-password"
    stream = b"\x05\x01\x02" + credential + b"\x05\x01\x00\x01\x7f\x00\x00\x01" + port
    for cut in range(1, len(stream)):
        with CountingClient(provider.port) as client:
            client.send(stream[:cut])
            client.send(stream[cut:] + b"tail")
            assert client.read(5) == b"\x05\x02\x01\x00\x05"
            assert client.read(9)[0] == 0
            assert client.read(4) == b"tail"
    assert provider.session("1")["handshake_up"] == len(stream) * (len(stream) - 1)


def test_clients_that_leave_in_the_middle_leave_nothing_behind(provider: SimulatedProvider) -> None:
    for start in (b"", b"\x05", b"CONN", b"\x05\x01\x02\x01\x04dem"):
        with CountingClient(provider.port) as client:
            client.send(start)
    eventually(lambda: provider.state()["clients"] == 0)
    assert seen_ip(provider, "demo-session-1").startswith("127.")
