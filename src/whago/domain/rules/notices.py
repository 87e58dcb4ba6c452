"""What notifications say: for each kind a title and a message, English templates that double as gettext ids.

Values come from the notification's data; ``limit_bytes`` is shown as ``{limit_gb}``, a month by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Notice:
    """Placeholders are ``{name}``."""

    title: str
    message: str


QUOTA_EXHAUSTED: Final[Mapping[str, Notice]] = {
    "block": Notice(
        "Proxy quota used up",
        "You have used the {limit_gb} GB of your plan for {month}. Connections were closed and new ones are refused"
        " until the month ends or your plan grows.",
    ),
    "block_new": Notice(
        "Proxy quota used up",
        "You have used the {limit_gb} GB of your plan for {month}. Open connections go on and are billed; new ones"
        " are refused.",
    ),
    "bill": Notice(
        "Proxy quota used up",
        "You have used the {limit_gb} GB of your plan for {month}. Traffic goes on and is billed.",
    ),
}

NOTICES: Final[Mapping[str, Notice]] = {
    "quota_warning": Notice(
        "80% of the proxy quota used",
        "You have used {used_gb} GB of the {limit_gb} GB of your plan for {month}.",
    ),
    "quota_exhausted": QUOTA_EXHAUSTED["block"],
    "exit_ip_changed": Notice(
        "The exit IP of a chip changed",
        "The chip {alias} now leaves from {after}; before it was {before}.",
    ),
    "duplicate_exit_ip": Notice(
        "Two chips share an exit IP",
        "The chip {alias} leaves from {exit_ip}, as another chip does.",
    ),
    "proxy_failed_over": Notice(
        "A chip moved to another proxy",
        "The proxy of the chip {alias} failed, so the chip now uses another one.",
    ),
    "ledger_mismatch": Notice(
        "Totals differed from the ledger",
        "{count} totals did not agree with the ledger and were set right. Look at the log of the worker.",
    ),
    "chip_waiting_proxy": Notice(
        "A chip waits for a proxy",
        "There is no healthy proxy for the chip {alias}. It connects as soon as there is one.",
    ),
}
UNKNOWN: Final = Notice("Notice", "")


def notice_for(kind: str, data: Mapping[str, Any]) -> Notice:
    """The templates of one notification; a kind that is not known here gets an empty message."""
    if kind == "quota_exhausted":
        return QUOTA_EXHAUSTED.get(str(data.get("on_limit")), QUOTA_EXHAUSTED["block"])
    return NOTICES.get(kind, UNKNOWN)
