"""The two ways out, at their sockets: what a webhook may reach and how long it may take; what a mail server is told."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.notify.office import Office
from tests.receivers import Customer, MailServer
from whago.domain.rules.outcomes import Failed, Sent
from whago.kit import addresses
from whago.kit.ids import new_id
from whago.notify.email import Letter, MailFolder, SmtpMailer, SmtpServer, smtp_server
from whago.notify.webhook import ANSWER_MAX_BYTES, BadAddress, post, target_of

BODY = b'{"type":"test"}'
AT = datetime(2026, 11, 15, 15, 0, tzinfo=UTC)


def sent(url: str, **options: Any) -> Sent | Failed:
    return post(url, BODY, {"Content-Type": "application/json"}, **({"allow_private": True} | options))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
    ],
)
def test_a_private_address_in_whatever_dress_is_never_dialled(hook: Customer, url: str) -> None:
    outcome = sent(url.format(port=hook.port), allow_private=False)
    assert isinstance(outcome, Failed)
    assert outcome.reason in ("private_address", "no_such_host")
    assert hook.calls == []


def test_what_was_checked_is_what_is_dialled(hook: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when it is checked and private a moment later (DNS rebinding) is not asked again."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *args, **kwargs)
        asked.append(host)
        address = "203.0.113.9" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(addresses, "is_private_address", lambda address: address.startswith("127."))
    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    outcome = sent(f"http://rebind.example:{hook.port}/", allow_private=False, deadline_s=2.0)
    assert isinstance(outcome, Failed)
    assert asked == ["rebind.example"]
    assert hook.calls == []


def test_one_private_answer_among_public_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 80)) for one in ("1.1.1.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: answers)
    outcome = sent("http://both.example/", allow_private=False)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "private_address"


def test_a_redirect_is_not_followed(hook: Customer) -> None:
    hook.answers.append((307, {"Location": f"http://127.0.0.1:{hook.port}/elsewhere"}, b""))
    outcome = sent(hook.url)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.status, len(hook.calls)) == ("redirect", 307, 1)


def test_the_host_header_names_the_port_and_the_query_is_kept(hook: Customer) -> None:
    assert sent(hook.url) == Sent("ok", 204, None)
    (call,) = hook.calls
    assert call.headers["host"] == f"127.0.0.1:{hook.port}"
    assert (call.path, call.body) == ("/hook?from=whago", BODY)


@contextmanager
def raw_server(talk: Callable[[socket.socket], None], host: str = "127.0.0.1") -> Iterator[int]:
    """Talks to everybody who connects."""
    server = socket.create_server((host, 0))

    def serve() -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=_talk, args=(talk, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


def _talk(talk: Callable[[socket.socket], None], client: socket.socket) -> None:
    with client, suppress(OSError):
        talk(client)


def drip(client: socket.socket) -> None:
    """A byte now and then, for ever: no single read ever takes too long."""
    client.recv(65_536)
    for sign in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 10_000:
        client.sendall(bytes([sign]))
        time.sleep(0.2)


def flood(client: socket.socket) -> None:
    client.recv(65_536)
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
    while True:
        client.sendall(b"x" * 65_536)


def test_a_receiver_that_drips_is_cut_off_at_the_deadline() -> None:
    with raw_server(drip) as port:
        began = time.monotonic()
        assert sent(f"http://127.0.0.1:{port}/", deadline_s=1.5) == Failed("timeout")
        assert time.monotonic() - began < 60  # and not the half hour that its answer would take


def test_only_the_beginning_of_a_flood_is_read() -> None:
    with raw_server(flood) as port:
        outcome = sent(f"http://127.0.0.1:{port}/")
    assert isinstance(outcome, Sent)
    assert outcome.excerpt is not None
    assert len(outcome.excerpt) <= ANSWER_MAX_BYTES


@pytest.mark.parametrize("said", [b"", b"SSH-2.0-OpenSSH_9\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x16\x03\x01" * 50])
def test_what_is_no_http_is_a_failure_and_not_a_crash(said: bytes) -> None:
    with raw_server(lambda client: (client.recv(65_536), client.sendall(said))) as port:  # type: ignore[arg-type]
        outcome = sent(f"http://127.0.0.1:{port}/", deadline_s=5.0)
    assert isinstance(outcome, Failed)
    assert outcome.again


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Self-signed, for localhost: nobody's authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    context = tls_context(certificate)

    def talk(client: socket.socket) -> None:
        with suppress(ssl.SSLError):
            context.wrap_socket(client, server_side=True).recv(1)

    with raw_server(talk) as port:
        outcome = sent(f"https://localhost:{port}/")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "tls"


@pytest.mark.parametrize(
    "url",
    ["", "crm.example", "ftp://crm.example", "http://", "https://a b/", "https://u:p@crm.example/", "http://x:0x1/"],
)
def test_what_is_no_web_address_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        target_of(url)


def a_letter(**fields: Any) -> Letter:
    values = {
        "ident": new_id(),
        "to": "otto@example.com",
        "subject": "Cota esgotada: João",
        "text": "Olá\n",
        "html": "<p>Olá</p>",
        "language": "pt-BR",
        "at": AT,
    }
    return Letter(**(values | fields))


def test_a_letter_in_the_folder_is_whole_and_private(tmp_path: Path) -> None:
    folder, letter = MailFolder(tmp_path / "mail", "WHAGO <alerts@whago.example>"), a_letter()
    for _ in range(2):
        assert folder.send(letter) == Sent("ok")
    (path,) = (tmp_path / "mail" / "new").iterdir()
    assert path.stat().st_mode & 0o077 == 0
    read = message_from_bytes(path.read_bytes(), policy=default)
    assert read["Subject"] == letter.subject
    assert [part.get_content() for part in read.iter_parts()] == [letter.text, letter.html + "\n"]
    path.rename(tmp_path / "mail" / "cur" / f"{path.name}:2,S")  # a mail program has shown it
    assert folder.send(letter) == Sent("ok")
    assert list((tmp_path / "mail" / "new").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_our_fault_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    outcome = MailFolder(tmp_path / "mail", "a@b.example").send(a_letter())
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.is_ours, outcome.again) == ("mail_folder", True, True)


def test_a_line_break_in_a_name_makes_no_second_header(office: Office, mail: MailServer) -> None:
    user = office.someone(name="Otto\r\nBcc: everybody@example.com")
    office.alert(user, subject="vendas\r\nBcc: everybody@example.com")
    office.round()
    (message,) = mail.messages
    assert message["Bcc"] is None


def test_a_mail_server_that_is_not_there_is_our_fault() -> None:
    outcome = SmtpMailer(SmtpServer("127.0.0.1", 9, False, None, None), "a@b.example").send(a_letter())
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.is_ours, outcome.again) == ("smtp_unreachable", True, True)


def test_a_refused_login_is_our_fault_and_no_password_is_told() -> None:
    def nobody(*_args: Any) -> bool:
        return False

    class Handler:
        async def handle_DATA(self, *_args: Any) -> str:
            return "250 taken"

    class AnyPort(Controller):
        def _trigger_server(self) -> None:
            assert self.server is not None
            self.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    controller = AnyPort(Handler(), hostname="127.0.0.1", port=0, auth_callback=nobody, auth_require_tls=False)
    controller.start()
    try:
        server = SmtpServer("127.0.0.1", controller.port, False, "otto", "very-secret")
        outcome = SmtpMailer(server, "a@b.example").send(a_letter())
    finally:
        controller.stop()
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.is_ours) == ("smtp_login", True)
    assert "very-secret" not in repr((outcome, server))


@pytest.mark.parametrize(("host", "is_sent"), [("127.0.0.2", False), ("127.0.0.1", True)])
def test_a_password_is_not_sent_in_the_clear_but_to_this_machine(host: str, is_sent: bool) -> None:
    heard: list[bytes] = []

    def talk(client: socket.socket) -> None:
        client.sendall(b"220 mail.example\r\n")
        while said := client.recv(65_536):
            heard.append(said)
            client.sendall(b"250-mail.example\r\n250 AUTH PLAIN LOGIN\r\n")

    with raw_server(talk, host) as port:
        outcome = SmtpMailer(SmtpServer(host, port, False, "otto", "very-secret"), "a@b.example").send(a_letter())
    assert isinstance(outcome, Failed)
    assert any(one.startswith(b"AUTH") for one in heard) is is_sent


def test_a_mail_server_is_read_from_its_address() -> None:
    server = smtp_server("smtps://otto:very%2Fsecret@mail.example")
    assert (server.host, server.port, server.is_tls, server.password) == ("mail.example", 465, True, "very/secret")
    assert smtp_server("smtp://mail.example").port == 587
    assert "very" not in repr(server)


@pytest.mark.parametrize(
    "url", ["smtp://", "http://mail.example", "smtp://u@mail.example", "smtp://mail.example:x", "smtp://m/?a=b"]
)
def test_what_is_no_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be|names a user"):
        smtp_server(url)
