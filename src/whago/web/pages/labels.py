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
SPLITS: Final[Mapping[str, str]] = {
    "all": N_("Total"),
    "chip": N_("By chip"),
    "provider": N_("By provider"),
    "customer": N_("By customer"),
}
ROLES: Final[Mapping[str, str]] = {
    "user": N_("Customer"),
    "support": N_("Support"),
    "finance": N_("Finance"),
    "admin": N_("Administrator"),
}
ROLE_HINTS: Final[Mapping[str, str]] = {
    "user": N_("Sees and changes only what is their own."),
    "support": N_("Sees the whole administration and changes nothing."),
    "finance": N_("Sees reports, plans, providers and their prices; imports bills and prepares files."),
    "admin": N_("Sees and changes everything."),
}
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
    "thrift_changed": N_("Data saving changed"),
    "quota_available": N_("There is traffic again"),
    "exit_ip_changed": N_("The exit IP changed"),
    "exit_ip_accepted": N_("The new exit IP was accepted"),
    "exit_ip_returned": N_("The exit IP is the former one again"),
    "paused": N_("Paused: the exit IP is another one"),
    "resumed": N_("May leave again"),
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
    "failover_session": N_("the exit was gone: a new session at the same provider"),
    "failover_proxy": N_("the exit was gone: another proxy of the same provider"),
    "failover_provider": N_("the exit was gone: the next provider"),
    "drained": N_("the proxy was drained"),
    "no_healthy_proxy": N_("no healthy proxy has room"),
    "quota_exhausted": N_("the month's limit was reached"),
    "bad_credential": N_("the gateway refused the credential"),
    "upstream_refused": N_("the provider refused the connection"),
    "upstream_timeout": N_("the provider did not answer in time"),
    "upstream_unreachable": N_("the provider cannot be reached"),
    "target_unreachable": N_("the proxy cannot reach WhatsApp"),
    "upstream_protocol": N_("the provider answered nonsense"),
    "upstream_auth_failed": N_("the provider refused our account"),
    "gateway_unreachable": N_("the gateway did not answer"),
    "backend_unreachable": N_("the bridge lost touch with the system"),
    "bridge_stopping": N_("the bridge was stopped"),
    "tunnel_closed": N_("the connection was cut"),
    "tunnel_silent": N_("the connection fell silent"),
    "connect_timeout": N_("the way did not open in time"),
    "login_timeout": N_("WhatsApp did not answer the login"),
    "temporarily_banned": N_("WhatsApp blocked the number for a while"),
    "forbidden": N_("WhatsApp refused the number"),
    "client_outdated": N_("WhatsApp wants a newer version"),
    "qr_expired": N_("nobody scanned the QR code"),
    "logged_out": N_("unlinked on the phone"),
    "unlinked_by_user": N_("unlinked here"),
    "stopped_by_user": N_("disconnected by the customer"),
    "replaced": N_("somebody else uses the linked device"),
    "phone_offline": N_("the phone has been silent for long"),
    "duplicate_exit_ip": N_("another chip had the same exit IP"),
    "exit_ip_changed": N_("the exit IP changed"),
}
EXIT_IP_POLICIES: Final[Mapping[str, str]] = {
    "tolerate": N_("Tolerate: only keep it in the history"),
    "alert": N_("Alert its owner"),
    "pause": N_("Pause the chip until its owner decides"),
}
VERDICTS: Final[Mapping[str, str]] = {
    "agrees": N_("Agrees"),
    "differs": N_("Differs"),
    "unjudged": N_("Cannot be judged"),
}
BILL_SOURCES: Final[Mapping[str, str]] = {
    "api": N_("usage API"),
    "reading": N_("counter of the usage API"),
    "csv": N_("imported bill"),
}
CALIBRATION_PROBLEMS: Final[Mapping[str, str]] = {
    "busy": N_("Refused: chips used the provider meanwhile"),
    "late": N_("Given up: the vendor's figures came too late"),
    "too_few": N_("Refused: too few steps"),
    "degenerate": N_("Refused: the steps do not tell scale and overhead apart"),
    "scale_nonsense": N_("Refused: no vendor counts like this"),
    "overhead_nonsense": N_("Refused: no tunnel costs as much"),
    "no_line": N_("Refused: the vendor's figures do not follow the transfers"),
    "unexplained_scale": N_("Not to be taken over: the vendor charges for more or less than flowed"),
    "no_usage_api": N_("Failed: the provider has no usage API or no key for it"),
    "no_upstream": N_("Failed: the provider has no address or no login"),
    "usage_api_refused": N_("Failed: the usage API refused the key"),
    "usage_api_unreachable": N_("Failed: the usage API did not answer"),
    "usage_api_strange": N_("Failed: the usage API answered in an unknown form"),
    "usage_api_incomplete": N_("Failed: the usage API needs another field"),
} | {
    f"transfer_{diagnosis}": N_("Failed: a transfer did not work")
    for diagnosis in (
        "credential_refused",
        "allow_list",
        "balance_empty",
        "no_exit",
        "proxy_down",
        "target_refused",
        "timeout",
        "protocol",
        "private_address",
    )
}

AUDITED: Final[Mapping[str, str]] = {
    "user.create": N_("User made"),
    "user.update": N_("User changed"),
    "user.delete": N_("User removed"),
    "user.make_admin": N_("Administrator made"),
    "user.password": N_("Password changed"),
    "user.password_reset": N_("Password set by e-mail"),
    "sign_in.end": N_("One device signed out"),
    "sign_in.end_all": N_("Signed out everywhere"),
    "sign_in.token_reused": N_("Sign-in ended: its token was used twice"),
    "totp.enable": N_("Two-step sign-in turned on"),
    "totp.disable": N_("Two-step sign-in turned off"),
    "totp.recovery_codes": N_("New recovery codes made"),
    "totp.recovery_used": N_("Signed in with a recovery code"),
    "totp.reset": N_("Two-step sign-in reset by a colleague"),
    "plan.create": N_("Plan made"),
    "plan.update": N_("Plan changed"),
    "plan.delete": N_("Plan removed"),
    "provider.create": N_("Provider added"),
    "provider.update": N_("Provider changed"),
    "provider.delete": N_("Provider removed"),
    "provider.billing": N_("Billing of a provider changed"),
    "provider.calibrate": N_("Provider calibrated"),
    "provider.apply_calibration": N_("Calibration applied"),
    "provider.import_bill": N_("Provider's bill imported"),
    "proxy.create": N_("Proxies added"),
    "proxy.update": N_("Proxy changed"),
    "proxy.delete": N_("Proxy removed"),
    "chip.force_proxy": N_("Chip put on a proxy"),
    "api_key.create": N_("API key made"),
    "api_key.revoke": N_("API key revoked"),
    "channel.create": N_("Alert channel added"),
    "channel.change": N_("Alert channel changed"),
    "channel.remove": N_("Alert channel removed"),
    "channel.confirm": N_("Alert channel confirmed"),
    "channel.renew_secret": N_("Secret of a webhook renewed"),
}

HEALTH_TERMS: Final[Mapping[str, str]] = {
    "success": N_("Attempts"),
    "latency": N_("Latency"),
    "ip_stability": N_("Steadiness of the exit IP"),
}
TROUBLES: Final[Mapping[str, str]] = {
    "credential_refused": N_("Login refused"),
    "allow_list": N_("Not on the allow list"),
    "balance_empty": N_("Balance empty"),
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
