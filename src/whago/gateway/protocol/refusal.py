"""Every refusal the gateway gives, as one table: reason → what an HTTP and what a SOCKS5 client is told.

SOCKS5 reply codes are those of RFC 1928 section 6. Never 401, 429, 440 or 500: WhatsApp engines read those as an order
to log out, to replace the connection or to start anew, which would harm the chip's account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SOCKS_GENERAL_FAILURE: Final = 0x01
SOCKS_NOT_ALLOWED: Final = 0x02
SOCKS_HOST_UNREACHABLE: Final = 0x04
SOCKS_REFUSED: Final = 0x05
SOCKS_TTL_EXPIRED: Final = 0x06  # what clients read as "timed out"
SOCKS_COMMAND_NOT_SUPPORTED: Final = 0x07
SOCKS_ADDRESS_NOT_SUPPORTED: Final = 0x08


@dataclass(frozen=True, slots=True)
class Refusal:
    """``text`` is one English sentence for whoever reads the client's log."""

    status: int
    phrase: str
    socks_reply: int
    text: str


REFUSALS: Final[dict[str, Refusal]] = {
    "bad_request": Refusal(
        400, "Bad Request", SOCKS_GENERAL_FAILURE, "This is neither an HTTP CONNECT nor a SOCKS5 handshake."
    ),
    "head_too_large": Refusal(
        400, "Bad Request", SOCKS_GENERAL_FAILURE, "The request head is larger than this gateway reads."
    ),
    "address_type_not_allowed": Refusal(
        400, "Bad Request", SOCKS_ADDRESS_NOT_SUPPORTED, "The address type is none of domain name, IPv4 and IPv6."
    ),
    "quota_exhausted": Refusal(
        402, "Payment Required", SOCKS_NOT_ALLOWED, "The traffic quota of this month is used up."
    ),
    "host_not_allowed": Refusal(
        403, "Forbidden", SOCKS_NOT_ALLOWED, "This host is not on the list of hosts that a chip may reach."
    ),
    "port_not_allowed": Refusal(
        403, "Forbidden", SOCKS_NOT_ALLOWED, "This port is not on the list of ports that a chip may reach."
    ),
    "method_not_allowed": Refusal(403, "Forbidden", SOCKS_COMMAND_NOT_SUPPORTED, "Only CONNECT is served here."),
    "chip_blocked": Refusal(403, "Forbidden", SOCKS_NOT_ALLOWED, "This chip is blocked."),
    "bad_credential": Refusal(
        407, "Proxy Authentication Required", SOCKS_GENERAL_FAILURE, "The chip's credential is missing or wrong."
    ),
    "handshake_timeout": Refusal(
        408, "Request Timeout", SOCKS_GENERAL_FAILURE, "The handshake was not finished in time."
    ),
    "upstream_refused": Refusal(502, "Bad Gateway", SOCKS_REFUSED, "The provider's proxy refused the connection."),
    "upstream_auth_failed": Refusal(
        502, "Bad Gateway", SOCKS_GENERAL_FAILURE, "The provider's proxy did not accept its credential or balance."
    ),
    "upstream_protocol": Refusal(
        502, "Bad Gateway", SOCKS_GENERAL_FAILURE, "The provider's proxy gave an answer that makes no sense."
    ),
    "upstream_unreachable": Refusal(
        502, "Bad Gateway", SOCKS_HOST_UNREACHABLE, "The provider's proxy cannot be reached."
    ),
    "target_unreachable": Refusal(
        502, "Bad Gateway", SOCKS_HOST_UNREACHABLE, "The provider's proxy works, but cannot reach this host."
    ),
    "no_healthy_proxy": Refusal(
        503, "Service Unavailable", SOCKS_GENERAL_FAILURE, "No healthy proxy is assigned to this chip right now."
    ),
    "exit_ip_changed": Refusal(
        503,
        "Service Unavailable",
        SOCKS_NOT_ALLOWED,
        "The exit IP of this chip changed, so it is paused until its owner accepts the new one or changes the proxy.",
    ),
    "too_many_tunnels": Refusal(
        503, "Service Unavailable", SOCKS_GENERAL_FAILURE, "Too many connections are open at the same time."
    ),
    "quota_busy": Refusal(
        503, "Service Unavailable", SOCKS_GENERAL_FAILURE, "The rest of the quota is reserved elsewhere. Try again."
    ),
    "control_unavailable": Refusal(
        503, "Service Unavailable", SOCKS_GENERAL_FAILURE, "The gateway cannot check this chip right now. Try again."
    ),
    "draining": Refusal(503, "Service Unavailable", SOCKS_GENERAL_FAILURE, "This gateway is stopping. Try again."),
    "upstream_timeout": Refusal(
        504, "Gateway Timeout", SOCKS_TTL_EXPIRED, "The provider's proxy did not answer in time."
    ),
}


def http_refusal(reason: str, upstream_status: int = 0) -> bytes:
    """The whole HTTP response for a refusal. ``upstream_status`` other than 0 is shown beside the reason."""
    refusal = REFUSALS[reason]
    body = f"{refusal.text}\n"
    lines = [
        f"HTTP/1.1 {refusal.status} {refusal.phrase}",
        f"X-Gateway-Reason: {reason}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    if refusal.status == 407:
        lines.append('Proxy-Authenticate: Basic realm="whago", charset="UTF-8"')
    if upstream_status:
        lines.append(f"X-Upstream-Status: {upstream_status}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
