"""Known transfers through a provider, for calibrations: a page of a wanted size, every byte on the wire counted."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from whago.kit.addresses import AddressRefused, resolve
from whago.providers.diagnosis import Diagnosis
from whago.providers.wire import ProbeUpstream, UpstreamFailed, Wire, dial, open_tunnel

DEFAULT_TRANSFER_URL: Final = "https://speed.cloudflare.com/__down?bytes={bytes}"  # answers just that many bytes
TRANSFER_S: Final = 60.0  # two megabytes over a slow phone
HEAD_BYTES_MAX: Final = 16_384
PLACEHOLDER: Final = "{bytes}"


@dataclass(frozen=True, slots=True)
class Moved:
    """``wire_bytes`` of the raw socket to the provider, both ways; also of attempts that failed."""

    wire_bytes: int
    problem: Diagnosis | None = None


def transfer(
    upstream: ProbeUpstream, url: str, each_bytes: int, *, allow_private: bool, timeout_s: float = TRANSFER_S
) -> Moved:
    """Downloads one page of about ``each_bytes`` through a tunnel of its own. Never raises for what a network does."""
    page = urlsplit(url.replace(PLACEHOLDER, str(each_bytes)))
    deadline = time.monotonic() + timeout_s
    wire: Wire | None = None
    try:
        addresses = resolve(upstream.host, upstream.port, allow_private=allow_private, timeout_s=timeout_s)
        wire = dial(addresses, upstream.port, deadline)
        _download(wire, upstream, page)
    except UpstreamFailed as failed:
        return Moved(wire.bytes_moved if wire else 0, failed.diagnosis)
    except AddressRefused:
        return Moved(0, Diagnosis.PROXY_DOWN)
    except TimeoutError:
        return Moved(wire.bytes_moved if wire else 0, Diagnosis.TIMEOUT)
    except (EOFError, ssl.SSLError, OSError):
        return Moved(wire.bytes_moved if wire else 0, Diagnosis.NO_EXIT)
    finally:
        if wire is not None:
            wire.close()
    return Moved(wire.bytes_moved)


def _download(wire: Wire, upstream: ProbeUpstream, page: SplitResult) -> None:
    port = page.port or (443 if page.scheme == "https" else 80)
    open_tunnel(wire, upstream, page.hostname or "", port)
    if page.scheme == "https":
        wire.encrypt(page.hostname or "")
    path = (page.path or "/") + (f"?{page.query}" if page.query else "")
    lines = [f"GET {path} HTTP/1.1", f"Host: {page.netloc}", "Accept-Encoding: identity", "Connection: close", "", ""]
    wire.send("\r\n".join(lines).encode())
    head = wire.until(b"\r\n\r\n", HEAD_BYTES_MAX)
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise UpstreamFailed(Diagnosis.TARGET_REFUSED)
    try:
        while True:
            wire.some()
    except EOFError:
        return
