"""E-mails: over SMTP, or into a folder of .eml files where no mail server is set.

A message keeps its Message-ID through every repetition (RFC 5322 section 3.6.4).
"""

from __future__ import annotations

import os
import smtplib
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

from whago.domain.rules.outcomes import Failed, Outcome, Sent, excerpt_of

SMTP_S: Final = 10.0  # for each answer of the mail server
SENDER_NAME: Final = "WHAGO"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
FOLDER_MODE: Final = 0o700  # mails hold what only their readers should see


@dataclass(frozen=True, slots=True)
class Letter:
    """One message in both forms. ``ident`` becomes its Message-ID."""

    ident: UUID
    to: str
    subject: str
    text: str
    html: str
    language: str
    at: datetime


class Mailer(Protocol):
    """Takes a letter and says how that ended; never raises for what can go wrong outside."""

    def send(self, letter: Letter) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """What ``WHAGO_SMTP_URL`` says: ``smtp://[user:password@]host[:587]`` or ``smtps://…[:465]``."""

    host: str
    port: int
    is_tls: bool
    username: str | None
    password: str | None = field(repr=False)


def smtp_server(url: str) -> SmtpServer:
    """Raises ValueError with a sentence's end for anything else."""
    wrong = "must be smtp://user:password@host:587 or smtps://user:password@host:465"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(wrong) from None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ValueError(wrong)
    tls = parts.scheme == "smtps"
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if (username is None) != (password is None):
        raise ValueError("names a user without a password, or a password without a user")
    return SmtpServer(parts.hostname, port or (465 if tls else 587), tls, username, password)


class SmtpMailer:
    """TLS from the first byte for smtps, else STARTTLS where offered; a password never goes out in the clear."""

    def __init__(self, server: SmtpServer, sender: str) -> None:
        self._server = server
        self._sender = sender

    def send(self, letter: Letter) -> Outcome:
        try:
            self._hand_over(letter)
        except smtplib.SMTPRecipientsRefused as refusal:
            return _refused(*next(iter(refusal.recipients.values())))
        except smtplib.SMTPDataError as error:
            return _refused(error.smtp_code, error.smtp_error)
        except smtplib.SMTPAuthenticationError as error:
            return Failed("smtp_login", error.smtp_code, excerpt_of(_raw(error.smtp_error)), is_ours=True)
        except smtplib.SMTPResponseException as error:
            return Failed("smtp_server", error.smtp_code, excerpt_of(_raw(error.smtp_error)), is_ours=True)
        except (OSError, smtplib.SMTPException) as error:
            return Failed("smtp_unreachable", excerpt=excerpt_of(type(error).__name__.encode()), is_ours=True)
        return Sent("ok")

    def try_login(self) -> None:
        """Everything short of a letter. Raises OSError or smtplib.SMTPException as it happens."""
        smtp = self._connected()
        with suppress(OSError, smtplib.SMTPException):
            smtp.quit()
        smtp.close()

    def _hand_over(self, letter: Letter) -> None:
        """Returns when the server has taken the letter; a goodbye that fails after that changes nothing."""
        smtp = self._connected()
        try:
            smtp.send_message(eml(letter, self._sender), parseaddr(self._sender)[1], [letter.to])
            with suppress(OSError, smtplib.SMTPException):
                smtp.quit()
        finally:
            smtp.close()

    def _connected(self) -> smtplib.SMTP:
        server, context = self._server, ssl.create_default_context()
        if server.is_tls:
            smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=SMTP_S, context=context)
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=SMTP_S)
        try:
            smtp.ehlo()
            encrypted = server.is_tls
            if not encrypted and smtp.has_extn("starttls"):
                smtp.starttls(context=context)
                encrypted = True
            if server.username is not None and server.password is not None:
                if not encrypted and server.host not in LOOPBACK:
                    raise smtplib.SMTPNotSupportedError("no STARTTLS, and a password is set")
                smtp.login(server.username, server.password)
        except BaseException:
            smtp.close()
            raise
        return smtp


class MailFolder:
    """A Maildir (https://cr.yp.to/proto/maildir.html): written whole into tmp, then renamed into new.

    The file is named after the letter, so delivering it again leaves one file: here a message is never there twice.
    """

    def __init__(self, folder: Path, sender: str) -> None:
        self.folder = folder
        self._sender = sender

    def send(self, letter: Letter) -> Outcome:
        try:
            for name in ("tmp", "new", "cur"):
                (self.folder / name).mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            name = f"{letter.ident}.eml"
            if any((self.folder / "cur").glob(f"{letter.ident}*")):
                return Sent("ok")  # somebody has read it already
            draft = self.folder / "tmp" / f"{letter.ident}.{os.getpid()}"
            draft.write_bytes(eml(letter, self._sender).as_bytes())
            draft.chmod(0o600)
            draft.replace(self.folder / "new" / name)
        except OSError as error:
            return Failed("mail_folder", excerpt=excerpt_of(str(error.strerror).encode()), is_ours=True)
        return Sent("ok")


def eml(letter: Letter, sender: str) -> EmailMessage:
    """The message as RFC 5322 wants it, text first, HTML beside it."""
    name, address = parseaddr(sender)
    message = EmailMessage()
    message["From"] = formataddr((name or SENDER_NAME, address))
    message["To"] = letter.to
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(letter.at)
    message["Message-ID"] = message_id(letter.ident, sender)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no vacation notes in return
    message["X-Whago-Delivery"] = str(letter.ident)
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    message["Content-Language"] = letter.language
    return message


def message_id(ident: UUID, sender: str) -> str:
    """The same for every attempt."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "whago.invalid"
    return f"<{ident}@{domain}>"


def _refused(code: int, told: bytes | str) -> Failed:
    """RFC 5321 section 4.2.1: 4yz may work later, 5yz never will."""
    return Failed("mail_refused", code, excerpt_of(_raw(told)), again=code < 500)


def _raw(told: bytes | str) -> bytes:
    return told if isinstance(told, bytes) else told.encode()
