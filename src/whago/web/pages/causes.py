"""Why a chip of our bridge is not connected, and what its owner can do: one entry for each reason that is told.

The reasons come from the gateway's refusals (``X-Gateway-Reason``), from WhatsApp's own words and from the bridge
(``bridge/src/close-policy.ts``). Whatever is not listed is shown as a fault of the way, which is retried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from whago.domain.models import ChipStatus, Engine
from whago.domain.queries.chips import ChipView
from whago.web.pages.labels import N_

RETRIED: Final = N_("It is tried again by itself, at most a minute apart, and always through the same IP.")


@dataclass(frozen=True, slots=True)
class Cause:
    """``title``: what is the matter. ``advice``: what happens by itself, and what is left to do."""

    tone: Literal["yellow", "red"]
    title: str
    advice: str


QUOTA: Final = Cause(
    "red",
    N_("The month's traffic of your plan is used up."),
    N_("The chip goes on by itself as soon as there is traffic again: with a larger plan, or when the month begins."),
)
CREDENTIAL: Final = Cause(
    "red",
    N_("The gateway did not accept this chip's credential."),
    N_("It gets a new one by itself. If this stays for more than a minute, disconnect the chip and connect it again."),
)
PROVIDER: Final = Cause(
    "yellow",
    N_("The proxy's provider does not let this chip through."),
    N_(
        "It is tried again by itself. If it lasts, change the proxy; the administrator is told when a provider is down."
    ),
)
NO_WAY: Final = Cause("yellow", N_("The way to WhatsApp is interrupted."), RETRIED)
BANNED: Final = Cause(
    "red",
    N_("WhatsApp has blocked this number for a while."),
    N_("Open WhatsApp on the phone: it says until when, and how to ask for a review. Then connect the chip again."),
)
REFUSED: Final = Cause(
    "red",
    N_("WhatsApp refuses this number."),
    N_("Open WhatsApp on the phone and see what it says there. Then connect the chip again; its pairing is kept."),
)
UNREACHABLE: Final = "target_unreachable"
OUT_OF_REACH: Final = Cause(
    "yellow",
    N_("The proxy works, but cannot reach WhatsApp."),
    N_(
        "It says so itself: WhatsApp's address is unknown or does not answer there. It is tried again by itself, at"
        " most a minute apart; if it lasts, change the proxy."
    ),
)
OFFLINE_DEMO: Final = Cause(
    "yellow",
    N_("WhatsApp cannot be reached from this machine's network."),
    N_(
        "The demo's provider is simulated: this chip leaves through this machine itself, which has no way to"
        " web.whatsapp.com. Everything else works. It is tried again by itself, at most a minute apart; with a way to"
        " the internet the QR code appears here."
    ),
)
CAUSES: Final[Mapping[str, Cause]] = {
    "quota_exhausted": QUOTA,
    "quota_busy": NO_WAY,
    "bad_credential": CREDENTIAL,
    "upstream_refused": PROVIDER,
    "upstream_timeout": PROVIDER,
    "upstream_unreachable": PROVIDER,
    "upstream_protocol": PROVIDER,
    UNREACHABLE: OUT_OF_REACH,
    "upstream_auth_failed": Cause(
        "red",
        N_("The provider does not accept our account, or its balance is spent."),
        N_("Only the administrator can mend that; the chip goes on by itself afterwards."),
    ),
    "host_not_allowed": Cause(
        "red",
        N_("WhatsApp's address is not on the gateway's list."),
        N_("Only the administrator can mend that; the chip goes on by itself afterwards."),
    ),
    "gateway_unreachable": Cause(
        "yellow",
        N_("The gateway does not answer the bridge."),
        N_("It is tried again by itself. If it lasts, the administrator should look at the gateway."),
    ),
    "backend_unreachable": Cause(
        "yellow",
        N_("The bridge has lost touch with the system."),
        N_("The chip was closed so that it never runs twice, and goes on by itself when the system is back."),
    ),
    "bridge_stopping": Cause(
        "yellow",
        N_("The bridge of this chip was stopped."),
        N_("Another one takes the chip over within half a minute; the pairing is kept."),
    ),
    "server_not_verified": Cause(
        "red",
        N_("The server at the other end did not prove that it is WhatsApp."),
        N_("Somebody on the way may be listening, so nothing is sent. Change the proxy, and tell the administrator."),
    ),
    "upgrade_refused": Cause(
        "yellow",
        N_("WhatsApp does not take this connection now."),
        N_("It is tried again by itself. If it lasts, WhatsApp may dislike this IP: change the proxy."),
    ),
    "whatsapp_unavailable": Cause("yellow", N_("WhatsApp is not available right now."), RETRIED),
    "whatsapp_error": Cause("yellow", N_("WhatsApp ended the connection with an error."), RETRIED),
    "temporarily_banned": BANNED,
    "forbidden": REFUSED,
    "account_refused": REFUSED,
    "client_outdated": Cause(
        "red",
        N_("WhatsApp wants a newer version of the bridge."),
        N_("Only an update of the system helps; the pairing is kept. Tell the administrator."),
    ),
    "multi_device_missing": Cause(
        "red",
        N_("This phone's WhatsApp cannot have linked devices."),
        N_("Update WhatsApp on the phone, then connect the chip again."),
    ),
    "qr_expired": Cause(
        "yellow",
        N_("Nobody scanned the QR code."),
        N_("Connect the chip again and scan the new code within three minutes."),
    ),
    "logged_out": Cause(
        "red",
        N_("This device was unlinked on the phone."),
        N_("Connect the chip and scan a new QR code. WhatsApp also does this to a phone that was offline for 14 days."),
    ),
    "unlinked_by_user": Cause(
        "yellow", N_("You unlinked this chip."), N_("Connect it and scan a new QR code to pair it again.")
    ),
    "replaced": Cause(
        "red",
        N_("Somebody else uses this chip's linked device."),
        N_("Another program connected with the same keys. End it there, then connect the chip again."),
    ),
    "auth_unreadable": Cause(
        "red",
        N_("The stored keys of this chip cannot be opened."),
        N_(
            "Was the secret key of the system changed? With the old one the pairing is back; else unlink and pair anew."
        ),
    ),
    "phone_offline": Cause(
        "yellow",
        N_("The phone of this chip has been silent for long."),
        N_(
            "The chip works on, but WhatsApp unlinks it when the phone is offline for 14 days. Switch the phone on,"
            " give it a network and open WhatsApp."
        ),
    ),
}
SHOWN: Final = frozenset(
    {
        ChipStatus.CONNECTING,
        ChipStatus.DISCONNECTED,
        ChipStatus.LOGGED_OUT,
        ChipStatus.BLOCKED_QUOTA,
        ChipStatus.ERROR,
        ChipStatus.CONNECTED,
    }
)
SAID_ELSEWHERE: Final = frozenset({"no_healthy_proxy", "exit_ip_changed", "stopped_by_user"})


def cause_of(chip: ChipView) -> Cause | None:
    """What to tell the owner; None for a chip that is well, or whose notice stands elsewhere on the page."""
    reason = chip.status_reason
    if chip.engine != Engine.BRIDGE or reason is None or chip.status not in SHOWN or reason in SAID_ELSEWHERE:
        return None
    if reason == UNREACHABLE and chip.proxy is not None and chip.proxy.is_simulated:
        return OFFLINE_DEMO
    return CAUSES.get(reason, NO_WAY)
