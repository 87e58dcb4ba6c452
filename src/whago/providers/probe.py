"""One real attempt through a provider: dial, handshake, fetch an ip-check page, and say what it means.

A probe costs about a kilobyte (several with TLS), which the provider bills and the house pays. It is bounded in time
and never raises for anything that an upstream, a page or a name server does.
"""

from __future__ import annotations

import http.client
import io
import re
import ssl
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from whago.domain.rules.health import Blame
from whago.kit.addresses import AddressRefused, is_private_host, resolve
from whago.providers.diagnosis import BLAMED, Diagnosis
from whago.providers.ip_page import SeenFrom, read_ip_page
from whago.providers.wire import ProbeUpstream, UpstreamFailed, Wire, dial, open_tunnel

DEFAULT_IP_CHECK_URL: Final = "https://ipinfo.io/json"  # tells IP, country and network in 300 bytes
PROBE_S: Final = 15.0  # a phone on 3G answers within this; an administrator waits for it in front of a page
PAGE_BYTES_MAX: Final = 65_536
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"  # RFC 9112 §7.1, without trailers
URL_TEXT: Final = re.compile(r"[\x21-\x7e]{1,2000}")  # visible ASCII: nothing that could end a header line
KNOCKED_AT: Final = ("web.whatsapp.com", 443)  # where chips go: every upstream that is of use lets them through
_UNTOLD: Final = frozenset({Diagnosis.TARGET_REFUSED, Diagnosis.NO_EXIT, Diagnosis.TIMEOUT})
_DROPPED: Final = "The exit dropped the connection before the test page answered."


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``latency_ms`` is dial and handshake, without the page. ``error`` is a sentence, ``diagnosis`` its code.

    ``bytes_moved``: what the attempt cost at the provider, handshakes and TLS included.
    """

    success: bool
    exit_ip: str | None = None
    country: str | None = None
    asn: str | None = None
    latency_ms: int | None = None
    error: str | None = None
    diagnosis: Diagnosis | None = None
    bytes_moved: int = 0

    @property
    def speaks_against(self) -> Blame:
        """Whom a failure speaks against: the proxy, our account there, the page, or nobody."""
        return BLAMED[self.diagnosis] if self.diagnosis is not None else Blame.NOBODY

    @property
    def counts_against(self) -> bool:
        """Whether the failure speaks against the proxy (rather than our account, our address or the page)."""
        return self.speaks_against is Blame.PROXY


def ip_check_page(configured: str | None, proxy_host: str) -> str | None:
    """The page to fetch through a proxy; None: none is known, so only the connection can be tried.

    A proxy on a private address (a laboratory, a test, one of our own) may have no way to a public page.
    """
    return configured or (None if is_private_host(proxy_host) else DEFAULT_IP_CHECK_URL)


def probe(
    upstream: ProbeUpstream,
    *,
    ip_check_url: str | None,
    allow_private: bool,
    knocks: bool = False,
    timeout_s: float = PROBE_S,
) -> ProbeResult:
    """Tries an upstream once. Without ``ip_check_url`` it only connects, which costs no billed byte.

    With ``knocks`` it then also asks for a tunnel, so that a refused login is seen. Whether the tunnel opens does not
    count: a laboratory's proxy may have no way to the target.

    Raises ValueError for an ``ip_check_url`` that is no http or https URL.
    """
    page = _checked_page(ip_check_url) if ip_check_url else None
    attempt = _Attempt(upstream, time.monotonic() + timeout_s)
    try:
        return attempt.run(page, allow_private=allow_private, knocks=knocks)
    except UpstreamFailed as failed:
        return attempt.failed(failed.diagnosis, str(failed))
    except TimeoutError:
        return attempt.failed(Diagnosis.TIMEOUT, "The proxy did not answer in time.")


class _Attempt:
    def __init__(self, upstream: ProbeUpstream, deadline: float) -> None:
        self._upstream = upstream
        self._deadline = deadline
        self._latency_ms: int | None = None
        self._wire: Wire | None = None

    def run(self, page: SplitResult | None, *, allow_private: bool, knocks: bool) -> ProbeResult:
        addresses = self._resolve(allow_private=allow_private)
        began = time.monotonic()
        wire = self._wire = dial(addresses, self._upstream.port, self._deadline)
        try:
            if page is None:
                if knocks:
                    self._knock(wire)
                self._latency_ms = _ms_since(began)
                return ProbeResult(success=True, latency_ms=self._latency_ms, bytes_moved=wire.bytes_moved)
            self._open(wire, page.hostname or "", _port(page))
            self._latency_ms = _ms_since(began)
            seen = _fetch(wire, page)
        finally:
            wire.close()
        return ProbeResult(True, seen.ip, seen.country, seen.asn, self._latency_ms, bytes_moved=wire.bytes_moved)

    def failed(self, diagnosis: Diagnosis, sentence: str) -> ProbeResult:
        moved = self._wire.bytes_moved if self._wire is not None else 0
        return ProbeResult(
            success=False, latency_ms=self._latency_ms, error=sentence, diagnosis=diagnosis, bytes_moved=moved
        )

    def _resolve(self, *, allow_private: bool) -> list[str]:
        left = self._deadline - time.monotonic()
        try:
            return resolve(self._upstream.host, self._upstream.port, allow_private=allow_private, timeout_s=left)
        except AddressRefused as refused:
            diagnosis = Diagnosis.PRIVATE_ADDRESS if refused.is_private else Diagnosis.PROXY_DOWN
            raise UpstreamFailed(diagnosis, str(refused)) from refused

    def _knock(self, wire: Wire) -> None:
        """Raises UpstreamFailed for an answer about ourselves: login, allow list, balance; or for none."""
        try:
            self._open(wire, *KNOCKED_AT)
        except UpstreamFailed as failed:
            if failed.diagnosis not in _UNTOLD:
                raise

    def _open(self, wire: Wire, host: str, port: int) -> None:
        try:
            open_tunnel(wire, self._upstream, host, port)
        except TimeoutError:
            raise
        except (EOFError, OSError) as gone:
            raise UpstreamFailed(Diagnosis.PROTOCOL, "The proxy closed the connection without an answer.") from gone


def _fetch(wire: Wire, page: SplitResult) -> SeenFrom:
    try:
        if page.scheme == "https":
            wire.encrypt(page.hostname or "")
        wire.send(_request(page))
        status, body = _response(wire)
    except TimeoutError:
        raise
    except ssl.SSLCertVerificationError as refused:
        raise UpstreamFailed(Diagnosis.TARGET_REFUSED, "The test page's certificate is not valid.") from refused
    except (EOFError, ConnectionError, ssl.SSLEOFError) as gone:
        raise UpstreamFailed(Diagnosis.NO_EXIT, _DROPPED) from gone
    except OSError as strange:
        raise UpstreamFailed(Diagnosis.TARGET_REFUSED, "The test page does not speak TLS.") from strange
    except http.client.HTTPException as strange:
        raise UpstreamFailed(Diagnosis.TARGET_REFUSED, "The test page did not answer in HTTP.") from strange
    if status != 200:
        raise UpstreamFailed(Diagnosis.TARGET_REFUSED, f"The test page answered {status}.")
    seen = read_ip_page(body)
    if seen is None:
        raise UpstreamFailed(Diagnosis.TARGET_REFUSED, "The test page told no IP address.")
    return seen


def _request(page: SplitResult) -> bytes:
    path = (page.path or "/") + (f"?{page.query}" if page.query else "")
    host = page.netloc.rpartition("@")[2]
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Accept: application/json, text/plain", "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def _response(wire: Wire) -> tuple[int, bytes]:
    """Status and body. The bytes are collected under the deadline first, then read by the standard library."""
    raw = bytearray(wire.until(b"\r\n\r\n", PAGE_BYTES_MAX))
    response = _parse(bytes(raw))
    wanted = len(raw) + (response.length or 0) if response.length is not None else PAGE_BYTES_MAX
    try:
        while len(raw) < min(wanted, PAGE_BYTES_MAX) and not (response.chunked and raw.endswith(LAST_CHUNK)):
            raw += wire.some()
    except EOFError:
        pass  # the end of a body without a length
    response = _parse(bytes(raw))
    return response.status, response.read(PAGE_BYTES_MAX)


def _parse(raw: bytes) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(_Received(raw))  # type: ignore[arg-type]
    response.begin()
    return response


class _Received:
    """What ``http.client`` wants of a socket, over bytes that are already here."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _checked_page(url: str) -> SplitResult:
    page = urlsplit(url)
    if page.scheme not in ("http", "https") or not page.hostname or _port(page) == 0 or not URL_TEXT.fullmatch(url):
        raise ValueError("the ip-check page is not an http or https URL")
    return page


def _port(page: SplitResult) -> int:
    return page.port if page.port is not None else {"http": 80, "https": 443}.get(page.scheme, 0)


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
