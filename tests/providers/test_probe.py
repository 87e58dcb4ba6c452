"""Probes through the simulated provider: real sockets, every way to fail."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from whago.domain.rules.dialect import build_login
from whago.providers.diagnosis import Diagnosis, diagnose_http
from whago.providers.presets import PRESETS, Protocol
from whago.providers.probe import DEFAULT_IP_CHECK_URL, ProbeResult, ip_check_page, probe
from whago.providers.wire import ProbeUpstream
from whago.simulator import SimulatedProvider

PAGE = "http://ip.simulated.test/json"
both_protocols = pytest.mark.parametrize("protocol", ["http", "socks5"])


@pytest.fixture(scope="module")
def _provider() -> Iterator[SimulatedProvider]:
    with SimulatedProvider(statics=1) as running:
        yield running


@pytest.fixture
def provider(_provider: SimulatedProvider) -> Iterator[SimulatedProvider]:
    yield _provider
    _provider.reset()


def upstream(
    provider: SimulatedProvider, protocol: Protocol = "http", token: str = "48213377", password: str | None = None
) -> ProbeUpstream:
    preset = PRESETS["smartproxy"]
    login = build_login(
        username_template=preset.username_template,
        password_template=preset.password_template,
        credentials={"username": "demo", "password": password or "demo-password"},
        token=token,
        country=None,
        region=None,
    )
    return ProbeUpstream(protocol, provider.host, provider.port, login.username, login.password)


def tried(
    provider: SimulatedProvider,
    protocol: Protocol = "http",
    *,
    page: str | None = PAGE,
    timeout_s: float = 10,
    **fields: str,
) -> ProbeResult:
    return probe(upstream(provider, protocol, **fields), ip_check_url=page, allow_private=True, timeout_s=timeout_s)


@both_protocols
def test_it_tells_the_exit_of_the_sticky_session(provider: SimulatedProvider, protocol: Protocol) -> None:
    result = tried(provider, protocol)
    session = provider.session("48213377")
    assert result.success
    assert (result.exit_ip, result.country) == (session["exit_ip"], "BR")
    assert result.asn is not None
    assert result.asn.startswith("AS")
    assert result.latency_ms is not None
    assert result.error is result.diagnosis is None
    assert not result.counts_against


def test_it_reads_a_page_that_is_only_an_address(provider: SimulatedProvider) -> None:
    result = tried(provider, page="http://ip.simulated.test/")
    assert result.exit_ip == provider.session("48213377")["exit_ip"]


def test_another_token_is_another_exit(provider: SimulatedProvider) -> None:
    assert tried(provider, token="11111111").exit_ip != tried(provider, token="22222222").exit_ip


def test_a_static_proxy_with_its_own_login(provider: SimulatedProvider) -> None:
    host, port, username, password = provider.static_list()[0].split(":")
    result = probe(ProbeUpstream("http", host, int(port), username, password), ip_check_url=PAGE, allow_private=True)
    assert (result.success, result.exit_ip) == (True, host)


SWITCHED = [
    ({"allow_list_denied": True}, Diagnosis.ALLOW_LIST, Diagnosis.TARGET_REFUSED),
    ({"balance_empty": True}, Diagnosis.BALANCE_EMPTY, Diagnosis.CREDENTIAL_REFUSED),
    ({"no_exit_in_country": True}, Diagnosis.NO_EXIT, Diagnosis.NO_EXIT),
    ({"refuse_connect": 402}, Diagnosis.BALANCE_EMPTY, Diagnosis.TARGET_REFUSED),
    ({"refuse_connect": 407}, Diagnosis.CREDENTIAL_REFUSED, Diagnosis.CREDENTIAL_REFUSED),
    ({"refuse_connect": 503}, Diagnosis.NO_EXIT, Diagnosis.NO_EXIT),
    ({"refuse_connect": 525}, Diagnosis.NO_EXIT, Diagnosis.NO_EXIT),
    ({"garbage": True}, Diagnosis.PROTOCOL, Diagnosis.PROTOCOL),
    ({"port_down": True}, Diagnosis.PROXY_DOWN, Diagnosis.PROXY_DOWN),
    ({"reset_after_bytes": 0}, Diagnosis.NO_EXIT, Diagnosis.NO_EXIT),
]


@pytest.mark.parametrize(("switches", "by_http", "by_socks5"), SWITCHED, ids=[str(case[0]) for case in SWITCHED])
def test_it_says_why_it_failed(
    provider: SimulatedProvider, switches: dict[str, object], by_http: Diagnosis, by_socks5: Diagnosis
) -> None:
    provider.switch(**switches)
    for protocol, expected in (("http", by_http), ("socks5", by_socks5)):
        result = tried(provider, protocol)  # type: ignore[arg-type]
        assert (result.success, result.diagnosis, result.exit_ip) == (False, expected, None)
        assert result.error


@both_protocols
def test_a_wrong_password_is_the_credential_and_is_not_repeated(
    provider: SimulatedProvider, protocol: Protocol
) -> None:
    result = tried(provider, protocol, password="s3cret-but-wrong")
    assert result.diagnosis is Diagnosis.CREDENTIAL_REFUSED
    assert not result.counts_against
    assert "s3cret" not in repr(result)


@both_protocols
def test_an_exit_that_is_gone_counts_against_the_proxy(provider: SimulatedProvider, protocol: Protocol) -> None:
    provider.switch(refuse_connect=503)
    assert tried(provider, protocol).counts_against


def test_a_gateway_error_of_the_exit_is_told_from_one_of_the_target(provider: SimulatedProvider) -> None:
    assert tried(provider, page="http://unknown.example/").diagnosis is Diagnosis.TARGET_REFUSED
    provider.switch(refuse_connect=502)
    assert tried(provider).diagnosis is Diagnosis.NO_EXIT


def test_a_page_that_says_no_is_the_target(provider: SimulatedProvider) -> None:
    result = tried(provider, page="http://ip.simulated.test/nowhere")
    assert result.diagnosis is Diagnosis.TARGET_REFUSED
    assert "404" in (result.error or "")


def test_a_page_without_an_address_is_the_target(provider: SimulatedProvider) -> None:
    assert tried(provider, page="http://media.whatsapp.net:443/").diagnosis is Diagnosis.TARGET_REFUSED


@both_protocols
def test_a_proxy_that_never_answers_ends_in_time(provider: SimulatedProvider, protocol: Protocol) -> None:
    provider.switch(stall=True)
    result = tried(provider, protocol, timeout_s=0.5)
    assert (result.diagnosis, result.counts_against) == (Diagnosis.TIMEOUT, True)


@both_protocols
def test_it_reads_replies_that_come_byte_by_byte(provider: SimulatedProvider, protocol: Protocol) -> None:
    provider.switch(one_byte_replies=True)
    assert tried(provider, protocol).success


def test_latency_is_that_of_the_proxy(provider: SimulatedProvider) -> None:
    quick = tried(provider).latency_ms
    provider.switch(latency_ms=300)
    slow = tried(provider).latency_ms
    assert quick is not None
    assert slow is not None
    assert slow >= 300
    assert quick < slow


def test_a_private_upstream_is_refused_before_a_byte_is_sent(provider: SimulatedProvider) -> None:
    before = provider.state()["totals"]
    result = probe(upstream(provider), ip_check_url=PAGE, allow_private=False)
    assert result.diagnosis is Diagnosis.PRIVATE_ADDRESS
    assert not result.counts_against
    assert provider.state()["totals"] == before


def test_without_a_page_it_only_connects(provider: SimulatedProvider) -> None:
    before = provider.state()["totals"]
    result = tried(provider, page=None)
    assert (result.success, result.exit_ip) == (True, None)
    assert provider.state()["totals"] == before
    provider.switch(port_down=True)
    assert tried(provider, page=None).diagnosis is Diagnosis.PROXY_DOWN


@both_protocols
def test_a_knock_sees_what_only_the_handshake_tells(provider: SimulatedProvider, protocol: Protocol) -> None:
    def knocked(password: str | None = None) -> ProbeResult:
        return probe(
            upstream(provider, protocol, password=password), ip_check_url=None, allow_private=True, knocks=True
        )

    assert (knocked().success, knocked().exit_ip) == (True, None)
    refused = knocked("wrong-password")
    assert (refused.success, refused.diagnosis) == (False, Diagnosis.CREDENTIAL_REFUSED)
    provider.switch(garbage=True)
    assert knocked().diagnosis is Diagnosis.PROTOCOL


def test_a_knock_does_not_mind_a_target_that_a_laboratory_cannot_reach(provider: SimulatedProvider) -> None:
    provider.switch(refuse_connect=502)
    result = probe(upstream(provider), ip_check_url=None, allow_private=True, knocks=True)
    assert (result.success, result.error) == (True, None)


def test_a_private_upstream_has_no_public_page() -> None:
    assert ip_check_page(None, "127.0.0.1") is None
    assert ip_check_page(None, "proxy.smartproxy.net") == DEFAULT_IP_CHECK_URL
    assert ip_check_page(PAGE, "127.0.0.1") == PAGE


def test_a_host_that_does_not_exist_is_a_proxy_that_is_down() -> None:
    result = probe(ProbeUpstream("http", "no-such-host.invalid", 80), ip_check_url=PAGE, allow_private=True)
    assert result.diagnosis is Diagnosis.PROXY_DOWN
    assert "no-such-host.invalid" in (result.error or "")


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "http:///x", "http://x/\r\nX: y", "javascript:1"])
def test_a_bad_page_is_a_bug_of_the_caller(url: str) -> None:
    with pytest.raises(ValueError, match="ip-check"):
        probe(ProbeUpstream("http", "127.0.0.1", 1), ip_check_url=url, allow_private=True)


@contextmanager
def peer(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """One connection to a peer of the test's own making; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def at(port: int, protocol: Protocol = "http", timeout_s: float = 5.0, page: str = PAGE) -> ProbeResult:
    return probe(
        ProbeUpstream(protocol, "127.0.0.1", port, "u", "p"), ip_check_url=page, allow_private=True, timeout_s=timeout_s
    )


def answering(*pieces: bytes) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        for piece in pieces:
            connection.recv(4096)
            connection.sendall(piece)

    return serve


OPEN = b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"


def test_a_chunked_page_is_read_though_the_peer_keeps_the_connection() -> None:
    page = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n203.0.113.9\r\n0\r\n\r\n"

    def serve(connection: socket.socket) -> None:
        answering(OPEN, page)(connection)
        connection.recv(4096)  # until the probe hangs up

    with peer(serve) as port:
        assert at(port).exit_ip == "203.0.113.9"


def test_a_page_of_known_length_is_read_though_the_peer_keeps_the_connection() -> None:
    def serve(connection: socket.socket) -> None:
        answering(OPEN, b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n203.0.113.9")(connection)
        connection.recv(4096)

    with peer(serve) as port:
        assert at(port).exit_ip == "203.0.113.9"


@pytest.mark.parametrize(
    ("pieces", "diagnosis"),
    [
        ((), Diagnosis.PROTOCOL),
        ((b"HTTP/1.1 200",), Diagnosis.PROTOCOL),
        ((b"SSH-2.0-x\r\n\r\n",), Diagnosis.PROTOCOL),
        ((b"HTTP/1.1 abc\r\n\r\n",), Diagnosis.PROTOCOL),
        ((b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4000,), Diagnosis.PROTOCOL),
        ((b"HTTP/1.1 500 Oops\r\n\r\n",), Diagnosis.PROTOCOL),
        ((b"HTTP/1.1 490 No IP\r\n\r\n",), Diagnosis.NO_EXIT),
        ((b"HTTP/1.1 504 Late\r\n\r\n",), Diagnosis.TIMEOUT),
        ((OPEN,), Diagnosis.NO_EXIT),
        ((OPEN, b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n203."), Diagnosis.TARGET_REFUSED),
        ((OPEN, b"rubbish\r\n\r\n"), Diagnosis.TARGET_REFUSED),
    ],
)
def test_an_odd_peer_gets_a_diagnosis(pieces: tuple[bytes, ...], diagnosis: Diagnosis) -> None:
    with peer(answering(*pieces)) as port:
        assert at(port).diagnosis is diagnosis


@pytest.mark.parametrize(
    ("pieces", "diagnosis"),
    [
        ((b"\x05\xff",), Diagnosis.CREDENTIAL_REFUSED),
        ((b"\x04\x00",), Diagnosis.PROTOCOL),
        ((b"\x05\x02", b"\x01\x01"), Diagnosis.CREDENTIAL_REFUSED),
        ((b"\x05\x00",), Diagnosis.PROTOCOL),  # a method that was not offered: a chip's tunnel refuses it too
        *(
            ((b"\x05\x02", b"\x01\x00", bytes([5, reply, 0, 1]) + bytes(6)), diagnosis)
            for reply, diagnosis in {
                1: Diagnosis.NO_EXIT, 3: Diagnosis.NO_EXIT, 5: Diagnosis.TARGET_REFUSED, 6: Diagnosis.TIMEOUT,
                8: Diagnosis.PROTOCOL,
            }.items()
        ),
    ],
)  # fmt: skip
def test_an_odd_socks5_peer_gets_a_diagnosis(pieces: tuple[bytes, ...], diagnosis: Diagnosis) -> None:
    with peer(answering(*pieces)) as port:
        assert at(port, "socks5").diagnosis is diagnosis


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate of ip.example.com with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ip.example.com")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("ip.example.com")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    pem = tmp_path / "page.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem.write_bytes(key.private_bytes(*form) + built.public_bytes(serialization.Encoding.PEM))
    return pem


def answering_in_tls(certificate: Path) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        answering(OPEN)(connection)
        try:
            with context.wrap_socket(connection, server_side=True) as encrypted:
                answering(b"HTTP/1.1 200 OK\r\n\r\n203.0.113.9")(encrypted)  # type: ignore[arg-type]
        except OSError:
            pass  # the probe did not trust us

    return serve


def test_it_reads_a_page_inside_tls(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with peer(answering_in_tls(certificate)) as port:
        assert at(port, page="https://ip.example.com/").exit_ip == "203.0.113.9"


def test_a_page_whose_certificate_nobody_vouches_for_is_the_target(certificate: Path) -> None:
    with peer(answering_in_tls(certificate)) as port:
        result = at(port, page="https://ip.example.com/")
    assert result.diagnosis is Diagnosis.TARGET_REFUSED
    assert "certificate" in (result.error or "")


def test_a_page_that_speaks_no_tls_is_the_target() -> None:
    def serve(connection: socket.socket) -> None:
        answering(OPEN, b"no TLS here, and enough of it to be seen")(connection)

    with peer(serve) as port:
        assert at(port, page="https://ip.example.com/").diagnosis is Diagnosis.TARGET_REFUSED


def test_a_peer_that_drips_for_ever_is_cut_at_the_deadline() -> None:
    def serve(connection: socket.socket) -> None:
        try:
            while True:
                connection.sendall(b"X")
                time.sleep(0.02)
        except OSError:
            pass

    with peer(serve) as port:
        assert at(port, timeout_s=0.4).diagnosis is Diagnosis.TIMEOUT


@pytest.mark.parametrize(
    ("status", "text", "diagnosis"),
    [
        (407, "Proxy Authentication Required", Diagnosis.CREDENTIAL_REFUSED),
        (403, 'Forbidden {"code":202,"msg":"denied"}', Diagnosis.ALLOW_LIST),
        (407, "Your IP is not in the whitelist", Diagnosis.ALLOW_LIST),
        (407, "Traffic limit reached", Diagnosis.BALANCE_EMPTY),
        (402, "", Diagnosis.BALANCE_EMPTY),
        (502, "Proxy Error: no peers available", Diagnosis.NO_EXIT),
        (403, "target host is forbidden", Diagnosis.TARGET_REFUSED),
        (451, "", Diagnosis.TARGET_REFUSED),
        (522, "", Diagnosis.TIMEOUT),
        (500, "", Diagnosis.PROTOCOL),
    ],
)
def test_it_reads_what_vendors_say(status: int, text: str, diagnosis: Diagnosis) -> None:
    assert diagnose_http(status, text) is diagnosis
