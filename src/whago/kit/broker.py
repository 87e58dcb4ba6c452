"""The broker's address: what of its URL is about TLS, in the words of the clients that read it.

``rediss://`` is Redis over TLS. Its certificate is always checked, and so is the name on it; what may be told in the
URL is where the certificates are: ``rediss://:password@host:6379/0?ssl_ca_certs=/etc/whago/broker-ca.pem``.
"""

from __future__ import annotations

import ssl
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

TLS_SCHEME: Final = "rediss"
DEFAULT_PORT: Final = 6379
CONNECT_TIMEOUT_S: Final = 5  # a broker that is not there must not hold anybody who can do without it
TLS_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")  # paths; the last two are for a client's own
MUST_BE: Final = {"ssl_cert_reqs": ("required",), "ssl_check_hostname": ("true", "yes", "1")}


def complaint(url: str) -> str | None:
    """What is wrong with the URL's TLS part, as the end of a sentence that begins with the setting's name."""
    for name, value in parse_qsl(urlsplit(url).query):
        if value.lower() not in MUST_BE.get(name, (value.lower(),)):
            return f"must not say {name}={value}: the broker's certificate and name are always checked"
    return None


def location(url: str) -> str:
    """``host:port``, to be told to people."""
    address = urlsplit(url)
    return f"{address.hostname or '127.0.0.1'}:{address.port or DEFAULT_PORT}"


def without_tls(url: str) -> str:
    """The URL without what ``tls_options`` has read out of it."""
    address = urlsplit(url)
    query = [pair for pair in parse_qsl(address.query) if not pair[0].startswith("ssl_")]
    return urlunsplit(address._replace(query=urlencode(query)))


def tls_options(url: str) -> dict[str, Any] | None:
    """For redis-py's connections; None for a broker without TLS."""
    address = urlsplit(url)
    if address.scheme != TLS_SCHEME:
        return None
    files = {name: value for name, value in parse_qsl(address.query) if name in TLS_FILES}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True, **files}
