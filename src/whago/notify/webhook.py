"""One POST to a customer's address: checked before it is dialled, no redirects, one deadline, a bounded answer."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from whago.domain.rules.outcomes import Failed, Outcome, Sent, excerpt_of
from whago.kit.addresses import AddressRefused, is_web_port, resolve

DEADLINE_S: Final = 15.0  # from the name to the end of the answer; a receiver should queue and answer at once
ANSWER_MAX_BYTES: Final = 4_096  # more of an answer is not read
RETRY_AFTER_MAX_S: Final = 3_600
GONE: Final = 410
URL_MAX_CHARS: Final = 2_000


class BadAddress(ValueError):
    """Not an address for webhooks; the message is an English sentence, a gettext id."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect and what to ask for."""

    is_secure: bool
    host: str
    port: int
    path: str


def target_of(url: str) -> Target:
    """Raises BadAddress for anything but http(s)://host[:port][/path][?query] without a login."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadAddress("This is not a web address.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or len(url) > URL_MAX_CHARS or not url.isascii():
        raise BadAddress("This is not a web address.")
    if parts.username is not None or parts.password is not None:
        raise BadAddress("The address must not hold a login; the signature proves who sends.")
    if any(sign <= " " or sign == "\x7f" for sign in url):
        raise BadAddress("This is not a web address.")
    secure = parts.scheme == "https"
    if port is not None and not is_web_port(port):
        raise BadAddress("The port must be 80, 443 or one from 1024 on.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, parts.hostname, port or (443 if secure else 80), path)


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, allow_private: bool, deadline_s: float = DEADLINE_S
) -> Outcome:
    """Sends it and says how that ended. Private addresses are refused unless ``allow_private``."""
    ends = time.monotonic() + deadline_s
    try:
        target = target_of(url)
        addresses = resolve(target.host, target.port, allow_private=allow_private, timeout_s=deadline_s)
    except BadAddress:
        return Failed("bad_address")
    except AddressRefused as refusal:
        return Failed("private_address" if refusal.is_private else "no_such_host")
    except TimeoutError:
        return Failed("timeout")
    try:
        with _Watched(_dial(target, addresses, ends), ends) as watched:
            return _exchange(watched, target, body, headers)
    except TimeoutError:
        return Failed("timeout")
    except ssl.SSLError as error:
        return Failed("tls", excerpt=excerpt_of(str(error.reason or error).encode()))
    except ConnectionRefusedError:
        return Failed("refused")
    except (OSError, http.client.HTTPException) as error:
        return Failed("connection", excerpt=excerpt_of(type(error).__name__.encode()))


def _dial(target: Target, addresses: list[str], ends: float) -> socket.socket:
    """Connects to an address that was checked; the name is not asked again."""
    failure: OSError = TimeoutError()
    for address in addresses:
        left = ends - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, target.port), timeout=left)
        except OSError as error:
            failure = error
    raise failure


class _Watched:
    """A socket that is shut at the deadline whatever it does, for a receiver may send a byte a second for ever."""

    def __init__(self, sock: socket.socket, ends: float) -> None:
        self.sock = sock
        self.is_late = False
        self._timer = threading.Timer(max(0.0, ends - time.monotonic()), self._shut)
        self._timer.daemon = True

    def __enter__(self) -> _Watched:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.sock.close()
        if self.is_late:
            raise TimeoutError

    def encrypt(self, host: str) -> None:
        """TLS with a certificate for the name. Raises ssl.SSLError."""
        secure = _tls().wrap_socket(self.sock, server_hostname=host, do_handshake_on_connect=False)
        self.sock = secure
        secure.do_handshake()

    def _shut(self) -> None:
        self.is_late = True
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)


@lru_cache(1)
def _tls() -> ssl.SSLContext:
    """One for all: reading the system's certificates takes longer than many a request."""
    return ssl.create_default_context()


def _exchange(watched: _Watched, target: Target, body: bytes, headers: Mapping[str, str]) -> Outcome:
    if target.is_secure:
        watched.encrypt(target.host)
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = watched.sock
    host = f"[{target.host}]" if ":" in target.host else target.host
    usual = target.port == (443 if target.is_secure else 80)
    named = {"Host": host if usual else f"{host}:{target.port}", "Connection": "close", **headers}
    connection.request("POST", target.path, body=body, headers=named)
    answer = connection.getresponse()
    excerpt = excerpt_of(answer.read(ANSWER_MAX_BYTES))
    if watched.is_late:
        raise TimeoutError
    return _judged(answer.status, excerpt, answer.getheader("Retry-After"))


def _judged(status: int, excerpt: str | None, retry_after: str | None) -> Outcome:
    if 200 <= status < 300:
        return Sent("ok", status, excerpt)
    if status == GONE:
        return Failed("gone", status, excerpt, again=False, gone=True)
    wait = int(retry_after) if retry_after is not None and retry_after.isdigit() else None
    reason = "redirect" if 300 <= status < 400 else "status"
    return Failed(reason, status, excerpt, retry_after_s=None if wait is None else min(wait, RETRY_AFTER_MAX_S))
