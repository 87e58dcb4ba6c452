"""What a failed attempt through a provider means, told from its answer. Pure.

Vendors say the same thing in many ways, so the text counts first and the status after it. 407 alone is ambiguous: a
wrong credential, an IP that is not allow-listed and an empty balance all answer it somewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from whago.domain.rules.health import Blame


class Diagnosis(StrEnum):
    """Stable codes; the pages translate them."""

    CREDENTIAL_REFUSED = "credential_refused"
    ALLOW_LIST = "allow_list"
    BALANCE_EMPTY = "balance_empty"
    NO_EXIT = "no_exit"
    PROXY_DOWN = "proxy_down"
    TARGET_REFUSED = "target_refused"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    PRIVATE_ADDRESS = "private_address"


BLAMED: Final[Mapping[Diagnosis, Blame]] = {
    Diagnosis.NO_EXIT: Blame.PROXY,
    Diagnosis.PROXY_DOWN: Blame.PROXY,
    Diagnosis.TIMEOUT: Blame.PROXY,
    Diagnosis.PROTOCOL: Blame.PROXY,
    Diagnosis.CREDENTIAL_REFUSED: Blame.ACCOUNT,
    Diagnosis.ALLOW_LIST: Blame.ACCOUNT,
    Diagnosis.BALANCE_EMPTY: Blame.ACCOUNT,
    Diagnosis.TARGET_REFUSED: Blame.TARGET,
    Diagnosis.PRIVATE_ADDRESS: Blame.NOBODY,
}

SENTENCES: Final[Mapping[Diagnosis, str]] = {
    Diagnosis.CREDENTIAL_REFUSED: "The provider refused the username or password.",
    Diagnosis.ALLOW_LIST: "This server's IP is not on the provider's allow list.",
    Diagnosis.BALANCE_EMPTY: "The account has no traffic left.",
    Diagnosis.NO_EXIT: "The provider has no exit for this session or country now.",
    Diagnosis.PROXY_DOWN: "The proxy does not accept connections.",
    Diagnosis.TARGET_REFUSED: "The proxy works, but the test page refused or could not be reached.",
    Diagnosis.TIMEOUT: "The proxy did not answer in time.",
    Diagnosis.PROTOCOL: "What answered does not speak the proxy protocol.",
    Diagnosis.PRIVATE_ADDRESS: "The address is private. Only public hosts are dialled here.",
}

_WORDS: Final[tuple[tuple[Diagnosis, tuple[str, ...]], ...]] = (
    (Diagnosis.ALLOW_LIST, ("whitelist", "white list", "allowlist", "allow list", "allow-list", "ip not allowed")),
    (
        Diagnosis.BALANCE_EMPTY,
        ("balance", "insufficient", "no traffic", "traffic limit", "out of traffic", "bandwidth", "quota", "payment"),
    ),
    (Diagnosis.TARGET_REFUSED, ("target", "destination")),
    (Diagnosis.NO_EXIT, ("no exit", "exit ", "no peer", "no proxies", "no available", "not available in")),
)
_STATUSES: Final[Mapping[int, Diagnosis]] = {
    401: Diagnosis.CREDENTIAL_REFUSED,
    402: Diagnosis.BALANCE_EMPTY,
    403: Diagnosis.TARGET_REFUSED,
    407: Diagnosis.CREDENTIAL_REFUSED,
    451: Diagnosis.TARGET_REFUSED,
    490: Diagnosis.NO_EXIT,  # NetNut: no IP in the country
    502: Diagnosis.NO_EXIT,
    503: Diagnosis.NO_EXIT,
    504: Diagnosis.TIMEOUT,
    522: Diagnosis.TIMEOUT,
    525: Diagnosis.NO_EXIT,  # Oxylabs: no exit node
}
_ALLOW_LIST_CODES: Final = ('"code":202', '"code": 202')  # Smartproxy's number for it
_SOCKS_REPLIES: Final[Mapping[int, Diagnosis]] = {  # RFC 1928 §6
    1: Diagnosis.NO_EXIT,
    2: Diagnosis.TARGET_REFUSED,
    3: Diagnosis.NO_EXIT,
    4: Diagnosis.TIMEOUT,
    5: Diagnosis.TARGET_REFUSED,
    6: Diagnosis.TIMEOUT,
}


def diagnose_http(status: int, text: str) -> Diagnosis:
    """What a refused CONNECT means. ``text`` is the reason phrase, the error headers and the body together."""
    lowered = text.lower()
    if any(code in lowered for code in _ALLOW_LIST_CODES):
        return Diagnosis.ALLOW_LIST
    for diagnosis, words in _WORDS:
        if any(word in lowered for word in words):
            return diagnosis
    return _STATUSES.get(status, Diagnosis.PROTOCOL)


def diagnose_socks5(reply: int) -> Diagnosis:
    """What a SOCKS5 reply other than 0 means."""
    return _SOCKS_REPLIES.get(reply, Diagnosis.PROTOCOL)
