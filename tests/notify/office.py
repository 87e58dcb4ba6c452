"""A post office whose time is moved by hand, and people who get mail from it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_user
from tests.receivers import MailServer
from whago.domain.actions.channels import ChannelWishes, create_webhook, ensure_channels
from whago.domain.models import Channel, Delivery, DeliveryAttempt, Notification, Severity, User, raise_alert
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.languages import LOCALES, Translators
from whago.notify.courier import Courier
from whago.notify.email import Mailer, SmtpMailer, smtp_server
from whago.notify.post_office import deliver_due

SIGNING = "whsec_test-signing-secret"
ALL_EVENTS = ("usage.threshold", "chip.status_changed", "chip.exit_ip_changed", "chip.proxy_changed")


class Office:
    """``now`` moves only when ``later`` is called."""

    def __init__(self, mail: MailServer, mailer: Mailer | None = None) -> None:
        self.now = NOW
        self.vault = Vault([SECRET])
        self.mail = mail
        self.courier = Courier(
            mailer or SmtpMailer(smtp_server(mail.url), "WHAGO <alerts@whago.example>"),
            self.vault,
            Translators(LOCALES),
            TZ,
            "https://whago.example",
            allow_private=True,
        )

    def round(self) -> dict[str, int]:
        return dict(deliver_due(self.courier, now=lambda: self.now, tz=TZ))

    def later(self, **of_timedelta: float) -> datetime:
        self.now += timedelta(**of_timedelta)
        return self.now

    def someone(self, *, url: str | None = None, **fields: Any) -> User:
        """A user with the first channels and, with ``url``, a webhook for everything."""
        user = make_user(**({"language": "en"} | fields))
        ensure_channels(user.id, now=NOW)
        if url is not None:
            self.webhook(user, url)
        return user

    def webhook(self, user: User, url: str, **wishes: Any) -> UUID:
        secret = self.vault.seal({"secret": SIGNING})
        return create_webhook(
            user.id, url, ChannelWishes(**({"name": "My system"} | wishes)), sealed_secret=secret, now=NOW
        )

    @staticmethod
    def webhook_of(user: User) -> UUID:
        """A webhook that leads nowhere."""
        secret = Vault([SECRET]).seal({"secret": SIGNING})
        return create_webhook(user.id, "https://crm.example/hook", ChannelWishes("CRM"), sealed_secret=secret, now=NOW)

    def alert(self, user: User, subject: str = "chip-1", kind: str = "chip_waiting_proxy", **fields: Any) -> bool:
        values: dict[str, Any] = {"now": self.now, "severity": Severity.WARNING, "data": {"alias": subject}} | fields
        with transaction() as db:
            return raise_alert(db, kind, subject, user_id=user.id, **values)


def channel_of(user: User, kind: str) -> Channel:
    with transaction() as db:
        return db.scalars(
            select(Channel).where(Channel.user_id == user.id, Channel.kind == kind, Channel.deleted_at.is_(None))
        ).one()


def change(channel: Channel, **values: Any) -> None:
    with transaction() as db:
        found = db.get_one(Channel, channel.id)
        for name, value in values.items():
            setattr(found, name, value)


def deliveries(state: str | None = None) -> list[Delivery]:
    query = select(Delivery).order_by(Delivery.created_at, Delivery.id)
    with transaction() as db:
        return list(db.scalars(query if state is None else query.where(Delivery.state == state)))


def attempts() -> list[DeliveryAttempt]:
    with transaction() as db:
        return list(db.scalars(select(DeliveryAttempt).order_by(DeliveryAttempt.id)))


def notifications(user: User) -> list[Notification]:
    with transaction() as db:
        query = select(Notification).where(Notification.user_id == user.id).order_by(Notification.created_at)
        return list(db.scalars(query))


def until(condition: Callable[[], bool], step: Callable[[], object], rounds: int) -> None:
    """Steps until it holds; fails after so many."""
    for _ in range(rounds):
        if condition():
            return
        step()
    assert condition(), json.dumps([one.state for one in deliveries()])
