"""Alert channels: where alerts go, what goes there, and what went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.actions.channels import ensure_channels
from whago.domain.queries.channels import ChannelView, deliveries, get_channel, list_channels
from whago.domain.queries.paging import DEFAULT_LIMIT
from whago.domain.rules.alert_kinds import emailed_kinds, kinds_for
from whago.domain.rules.channels import STANDARD_THRESHOLDS, EventType
from whago.web.api.fields import Cursor
from whago.web.pages.labels import N_
from whago.web.pages.listing import next_page
from whago.web.pages.rendering import CustomerPage, Page

PATH: Final = "/settings/channels"
API: Final = "/api/v1/user/channels"

KINDS: Final[Mapping[str, str]] = {
    "quota_warning": N_("A threshold of the month's quota is reached"),
    "quota_exhausted": N_("The month's quota is used up"),
    "quota_projected": N_("The quota may not last the month"),
    "chip_cost_spike": N_("A chip costs far more than usual"),
    "chip_waiting_proxy": N_("Chips wait for a proxy"),
    "proxy_failed_over": N_("A chip moved to another proxy"),
    "exit_ip_changed": N_("The exit IP of a chip changed"),
    "duplicate_exit_ip": N_("Two chips share an exit IP"),
    "provider_down": N_("A provider is down"),
    "proxy_ejected": N_("A proxy was taken out of the pool"),
    "provider_balance_low": N_("A provider's balance is low"),
    "bill_mismatch": N_("A provider's bill differs from our metering"),
    "gateway_silent": N_("A gateway is silent"),
    "bridge_silent": N_("A WhatsApp bridge is silent"),
    "scheduler_silent": N_("The clocks stand still"),
    "ledger_mismatch": N_("Totals differed from the ledger"),
    "channel_disabled": N_("An alert channel was switched off"),
    "monthly_report": N_("What a month came to, when it has ended"),
    "monthly_summary": N_("What a month came to for everybody, when it has ended"),
    "daily_summary": N_("What flowed yesterday, each morning"),
}
EVENTS: Final[Mapping[str, str]] = {
    EventType.USAGE_THRESHOLD.value: N_("A threshold of the quota is reached"),
    EventType.CHIP_STATUS.value: N_("A chip's status changes"),
    EventType.CHIP_EXIT_IP.value: N_("A chip's exit IP changes"),
    EventType.CHIP_PROXY.value: N_("A chip gets another proxy"),
}
CHANNEL_KINDS: Final[Mapping[str, str]] = {
    "in_app": N_("In the application"),
    "email": N_("E-mail"),
    "webhook": N_("Webhook"),
}
SYMBOLS: Final[Mapping[str, str]] = {"in_app": "bell", "email": "mail", "webhook": "globe"}
STATES: Final[Mapping[str, str]] = {
    "pending": N_("Waiting"),
    "sending": N_("On its way"),
    "sent": N_("Delivered"),
    "failed": N_("Not delivered"),
}
STATE_TONES: Final[Mapping[str, str]] = {"pending": "yellow", "sending": "blue", "sent": "green", "failed": "red"}
ABOUT: Final[Mapping[str, str]] = {**KINDS, **EVENTS}
DELIVERY_KINDS: Final[Mapping[str, str]] = {"test": N_("Test"), "confirm": N_("Code to confirm the address")}
REASONS: Final[Mapping[str, str]] = {
    "ok": N_("accepted"),
    "status": N_("the receiver answered with an error"),
    "redirect": N_("the receiver redirected elsewhere, which is not followed"),
    "gone": N_("the receiver wants nothing more (410)"),
    "timeout": N_("no answer in time"),
    "refused": N_("nobody listens there"),
    "connection": N_("the connection broke"),
    "tls": N_("the certificate or the encryption was not accepted"),
    "no_such_host": N_("there is no such host"),
    "private_address": N_("the address is private"),
    "bad_address": N_("this is not a web address"),
    "mail_refused": N_("the mail server refused the message"),
    "smtp_login": N_("our mail server refused our login"),
    "smtp_server": N_("our mail server answered with an error"),
    "smtp_unreachable": N_("our mail server does not answer"),
    "mail_folder": N_("the mail folder cannot be written"),
    "secret_key": N_("the secret cannot be read with this installation's key"),
    "worker_ended": N_("cut off; it may have arrived"),
    "too_old": N_("given up: the channel was off for too long"),
}

router = APIRouter(prefix=PATH)


@router.get("")
def channels_page(page: CustomerPage) -> Response:
    """The channels, or for htmx their list alone."""
    ensure_channels(page.owner_id, now=page.now)
    return page.draw(
        "settings/_channels.html" if page.is_fragment else "settings/channels.html",
        channels=list_channels(page.owner_id),
        symbols=SYMBOLS,
        channel_kinds=CHANNEL_KINDS,
        all_kinds=_kinds(page),
        api=API,
    )


@router.get("/new/{kind}")
def new_channel(kind: str, page: CustomerPage) -> Response:
    if kind not in ("email", "webhook"):
        return RedirectResponse(PATH, 303)
    return _form(page, kind, None, f"POST {API}/{kind}")


@router.get("/{channel_id}/edit")
def edit_channel(channel_id: UUID, page: CustomerPage) -> Response:
    one = get_channel(page.owner_id, channel_id)
    return _form(page, one.kind, one, f"PUT {API}/{channel_id}")


@router.get("/{channel_id}/delete")
def delete_channel(channel_id: UUID, page: CustomerPage) -> Response:
    one = get_channel(page.owner_id, channel_id)
    return _dialog(page, "settings/channel_delete.html", api=f"DELETE {API}/{channel_id}", one=one)


@router.get("/{channel_id}/secret")
def renew_secret(channel_id: UUID, page: CustomerPage) -> Response:
    one = get_channel(page.owner_id, channel_id)
    return _dialog(page, "settings/channel_secret.html", api=f"POST {API}/{channel_id}/secret/renew", one=one)


@router.get("/{channel_id}/confirm")
def confirm_address(channel_id: UUID, page: CustomerPage) -> Response:
    one = get_channel(page.owner_id, channel_id)
    return _dialog(page, "settings/channel_confirm.html", api=f"POST {API}/{channel_id}/confirm", one=one)


@router.get("/{channel_id}/log")
def delivery_log(channel_id: UUID, page: CustomerPage, cursor: Cursor = None) -> Response:
    """What went to one channel, newest first."""
    one = get_channel(page.owner_id, channel_id)
    found = deliveries(page.owner_id, channel_id, limit=DEFAULT_LIMIT, cursor=cursor)
    path = f"{PATH}/{channel_id}/log"
    return page.draw(
        "settings/_channel_log.html" if page.is_fragment else "settings/channel_log.html",
        one=one,
        deliveries=found.items,
        states=STATES,
        tones=STATE_TONES,
        about=ABOUT,
        delivery_kinds=DELIVERY_KINDS,
        reasons=REASONS,
        log_path=path,
        next_href=next_page(path, {}, found.next_cursor),
        first_href=path if cursor else None,
    )


def _form(page: Page, kind: str, one: ChannelView | None, api: str) -> Response:
    offered = _kinds(page)
    if one is not None:
        chosen, everything = one.kinds or [], one.kinds is None
    else:
        chosen, everything = emailed_kinds(), False
    return _dialog(
        page,
        "settings/channel_form.html",
        api=api,
        kind=kind,
        one=one,
        kinds={code: KINDS[code] for code in offered},
        kept=[code for code in chosen if code not in offered],
        chosen=chosen,
        everything=everything,
        events=EVENTS if kind == "webhook" else {},
        chosen_events=one.events if one else [],
        thresholds=", ".join(str(percent) for percent in (one.thresholds if one else STANDARD_THRESHOLDS)),
        zone=page.formats.tz.key,
    )


def _kinds(page: Page) -> list[str]:
    """What this person can be told of. An administrator has chips of their own, too."""
    return kinds_for(is_admin=False) + [
        kind
        for kind in kinds_for(is_admin=True)
        if page.user is not None and page.user.is_admin and kind not in kinds_for(is_admin=False)
    ]


def _dialog(page: Page, template: str, **context: Any) -> Response:
    if not page.is_fragment:
        return RedirectResponse(PATH, 303)
    return page.draw(template, **context)
