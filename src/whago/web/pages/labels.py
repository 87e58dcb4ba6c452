"""Codes of the product as words for people, in English; each is a gettext id. An unknown code is shown as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from whago.web.i18n import Translator


def N_(sentence: str) -> str:  # noqa: N802 - gettext's name for it
    """Marks a sentence for translation where it is defined; it is translated where it is shown."""
    return sentence


STATUSES: Final[Mapping[str, str]] = {
    "created": N_("Created"),
    "waiting_proxy": N_("Waiting for a proxy"),
    "connecting": N_("Connecting"),
    "waiting_qr": N_("Waiting for the QR code"),
    "connected": N_("Connected"),
    "disconnected": N_("Disconnected"),
    "logged_out": N_("Logged out"),
    "blocked_quota": N_("Blocked by the limit"),
    "error": N_("Error"),
}
STATUS_TONES: Final[Mapping[str, str]] = {
    "created": "blue",
    "waiting_proxy": "yellow",
    "connecting": "blue",
    "waiting_qr": "yellow",
    "connected": "green",
    "logged_out": "red",
    "blocked_quota": "red",
    "error": "red",
}
ENGINES: Final[Mapping[str, str]] = {"bridge": N_("WHAGO bridge"), "external": N_("External engine")}
PROVIDER_TYPES: Final[Mapping[str, str]] = {
    "residential": N_("Residential"),
    "datacenter": N_("Datacenter"),
    "mobile": N_("Mobile"),
}
PROXY_TYPES: Final[Mapping[str, str]] = {"rotating": N_("Rotating"), "static": N_("Static")}
PROTOCOLS: Final[Mapping[str, str]] = {"http": "HTTP", "socks5": "SOCKS5"}
ROLES: Final[Mapping[str, str]] = {"admin": N_("Administrator"), "user": N_("Customer")}
ON_LIMIT: Final[Mapping[str, str]] = {
    "block": N_("Block everything"),
    "block_new": N_("Block only new connections"),
    "bill": N_("Go on and bill it"),
}
ON_LIMIT_HINTS: Final[Mapping[str, str]] = {
    "block": N_("Running tunnels are closed, new chips and connections are refused."),
    "block_new": N_("Running tunnels go on and are billed, new chips and connections are refused."),
    "bill": N_("Nothing stops; what passes the limit is billed at the same price."),
}
EVENTS: Final[Mapping[str, str]] = {
    "created": N_("Chip created"),
    "deleted": N_("Chip deleted"),
    "proxy_assigned": N_("Proxy assigned"),
    "proxy_released": N_("Proxy released"),
    "waiting_proxy": N_("No healthy proxy had room: the chip waits"),
    "credential_renewed": N_("New gateway credential"),
    "exit_ip_changed": N_("The exit IP changed"),
} | {f"status_{code}": name for code, name in STATUSES.items()}
REASONS: Final[Mapping[str, str]] = {
    "created": N_("first assignment"),
    "rotated_by_user": N_("changed by the customer"),
    "forced_by_admin": N_("chosen by an administrator"),
    "provider_deleted": N_("the provider was removed"),
    "proxy_deleted": N_("the proxy was removed"),
    "chip_deleted": N_("the chip was deleted"),
    "pool_recovered": N_("a proxy became free"),
    "failover": N_("the proxy failed"),
    "no_healthy_proxy": N_("no healthy proxy has room"),
    "quota_exhausted": N_("the month's limit was reached"),
}


def label(kind: Mapping[str, str], code: str | None, translate: Translator) -> str:
    """The word for a code; nothing for None."""
    return translate(kind.get(code, code)) if code is not None else ""


def event_detail(kind: str, facts: Mapping[str, Any], translate: Translator) -> str:
    """What there is to say of an event beyond its kind."""
    if kind == "exit_ip_changed":
        return translate("from {before} to {after}", before=facts.get("before"), after=facts.get("after"))
    parts = [label(REASONS, facts.get("reason"), translate), str(facts.get("session_identifier") or "")]
    return " · ".join(part for part in parts if part)
