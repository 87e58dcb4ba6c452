"""Takes one claimed delivery to where it belongs: an e-mail address or a customer's system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from whago.domain.actions.deliveries import Claim, EventContent, NoticeContent
from whago.domain.rules.channels import ChannelKind
from whago.domain.rules.notices import RECOVERED
from whago.domain.rules.outcomes import Failed, Outcome
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.languages import Translator, Translators
from whago.notify.email import Letter, Mailer
from whago.notify.letters import Writing, written
from whago.notify.signing import HEADER, signature
from whago.notify.webhook import post
from whago.notify.wording import notice_text

USER_AGENT: Final = "WHAGO-Webhooks/1"
SETTINGS_PATH: Final = "/settings/channels"
PLACES: Final[Mapping[str, str]] = {  # where a customer looks after an alert; administrators go to the list of alerts
    "quota_warning": "/dashboard",
    "quota_exhausted": "/dashboard",
    "quota_projected": "/dashboard",
    "channel_disabled": SETTINGS_PATH,
}
REPORT_PLACES: Final[Mapping[str, str]] = {
    "monthly_report": "/usage",
    "monthly_summary": "/admin/reports",
    "daily_summary": "/admin/reports",
}
CHIPS_PATH: Final = "/chips"
ALERTS_PATH: Final = "/admin/alerts"


@dataclass(frozen=True, slots=True)
class Courier:
    """What it takes to send. ``public_url``: where people reach this installation; without it letters hold no links."""

    mailer: Mailer
    vault: Vault
    translators: Translators
    tz: ZoneInfo
    public_url: str | None = None
    allow_private: bool = False

    def send(self, claim: Claim, now: datetime) -> Outcome:
        """Never raises for what can go wrong outside."""
        translate = self.translators.choose(claim.language, None)
        if claim.channel_kind is ChannelKind.WEBHOOK:
            return self._post(claim, translate, now)
        return self.mailer.send(self._letter(claim, translate))

    def _post(self, claim: Claim, translate: Translator, now: datetime) -> Outcome:
        try:
            secrets = signing_secrets(self.vault.open(claim.sealed_secret), now)
        except WhagoError:
            return Failed("secret_key", is_ours=True)
        content = self._payload(claim, translate)
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": USER_AGENT,
            "X-Whago-Delivery": str(claim.delivery_id),
            "X-Whago-Event": content["type"],
            "X-Whago-Attempt": str(claim.attempt),
            HEADER: signature(secrets, body, now),
        }
        return post(claim.address, body, headers, allow_private=self.allow_private)

    def _payload(self, claim: Claim, translate: Translator) -> dict[str, Any]:
        """``id`` is the delivery's: the same for every attempt, so that a receiver knows a repetition."""
        head = {"id": str(claim.delivery_id), "created_at": _rfc3339(claim.created_at)}
        match claim.content:
            case EventContent(kind, facts, number):
                return {**head, "type": kind, "number": number, "data": facts}
            case NoticeContent() as notice:
                return {**head, "type": _type_of(notice), "data": self._notice(claim, notice, translate)}
            case None:
                message = translate("This is a test of the alert channel {name}.", name=claim.channel_name)
                return {**head, "type": "test", "data": {"message": message}}

    def _notice(self, claim: Claim, notice: NoticeContent, translate: Translator) -> dict[str, Any]:
        title, message = notice_text(notice.kind, notice.level, notice.data, translate, self._zone(claim))
        return {
            "notification_id": str(notice.id),
            "kind": notice.kind,
            "level": notice.level,
            "title": title,
            "message": message,
            "details": notice.data,
        }

    def _letter(self, claim: Claim, translate: Translator) -> Letter:
        writing = self._writing(claim, translate)
        text, html = written(writing, translate)
        return Letter(claim.delivery_id, claim.address, writing.title, text, html, translate.language, claim.created_at)

    def _writing(self, claim: Claim, translate: Translator) -> Writing:
        settings = self._link(SETTINGS_PATH)
        footer = translate(
            "You get this e-mail because {email} has the alert channel {name} on WHAGO.",
            email=claim.user_email,
            name=claim.channel_name,
        )
        if isinstance(claim.content, NoticeContent):
            return self._notice_letter(claim, claim.content, translate, footer)
        if claim.kind == "confirm":
            return Writing(
                claim.user_name,
                translate("Confirm your e-mail address"),
                (
                    translate("Type this code under alert channels to get alerts at this address."),
                    translate("If you did not ask for this, ignore it: nothing else will be sent here."),
                ),
                footer,
                code=str(self.vault.open(claim.sealed_code).get("code", "")),
                link=settings,
                link_text=translate("Open alert channels"),
            )
        message = translate("This is a test of the alert channel {name}.", name=claim.channel_name)
        paragraphs = (message, translate("Alerts will arrive here like this one."))
        return Writing(
            claim.user_name, translate("Test of an alert channel"), paragraphs, footer, settings_link=settings
        )

    def _notice_letter(self, claim: Claim, notice: NoticeContent, translate: Translator, footer: str) -> Writing:
        title, message = notice_text(notice.kind, notice.level, notice.data, translate, self._zone(claim))
        usual = ALERTS_PATH if claim.is_admin else PLACES.get(notice.kind, CHIPS_PATH)
        place = REPORT_PLACES.get(notice.kind, usual)
        return Writing(
            claim.user_name,
            title,
            (message,),
            footer,
            level=notice.level,
            link=self._link(place),
            link_text=translate("Open WHAGO"),
            settings_link=self._link(SETTINGS_PATH),
        )

    def _zone(self, claim: Claim) -> ZoneInfo:
        return ZoneInfo(claim.time_zone) if claim.time_zone else self.tz

    def _link(self, path: str) -> str | None:
        return self.public_url.rstrip("/") + path if self.public_url else None


def signing_secrets(content: Mapping[str, Any], now: datetime) -> list[str]:
    """The secret, and the one before while it still holds. ``content``: what the channel has sealed."""
    secrets = [str(content["secret"])]
    until = content.get("previous_until")
    if until is not None and datetime.fromisoformat(until) > now:
        secrets.append(str(content["previous"]))
    return secrets


def _type_of(notice: NoticeContent) -> str:
    if not notice.is_alert:
        return "notification"
    return "alert.recovered" if notice.level == RECOVERED else "alert.raised"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
