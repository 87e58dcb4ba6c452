"""Channels of a user: made, changed, tried, switched on and off, removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from whago.domain.models import Channel, Delivery, User, clear_alert
from whago.domain.models.auditing import audit
from whago.domain.models.first_channels import make_first_channels, watch_thresholds
from whago.domain.rules.channels import STANDARD_THRESHOLDS, ChannelKind
from whago.errors import InvalidInput, WhagoError
from whago.kit.db import transaction
from whago.kit.ids import new_id, token_hash

CHANNELS_PER_USER: Final = 10  # a team's addresses and systems; more is a mailing list
TESTS_PER_HOUR: Final = 30  # of one user: enough to put a receiver right, too few to pester a stranger's
CODES_PER_DAY: Final = 10  # confirmation mails of one user, whatever addresses they go to
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ChannelWishes:
    """What its owner may set. ``kinds`` None is all alerts; ``events`` are for webhooks; times are of ``time_zone``."""

    name: str
    kinds: Sequence[str] | None = None
    events: Sequence[str] = ()
    thresholds: Sequence[int] = STANDARD_THRESHOLDS
    quiet_from: time | None = None
    quiet_to: time | None = None
    time_zone: str | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Code:
    """What proves that an e-mail address is the user's: its hash, and the code itself, sealed for the mail."""

    hash: bytes
    sealed: Mapping[str, Any]


def ensure_channels(user_id: UUID, *, now: datetime) -> None:
    """Makes the first channels of a user who has none yet."""
    with transaction() as db:
        if db.scalar(select(User.has_channels).where(User.id == user_id)) is False:
            make_first_channels(db, [user_id], now=now)


def create_webhook(
    user_id: UUID, url: str, wishes: ChannelWishes, *, sealed_secret: Mapping[str, Any], now: datetime
) -> UUID:
    """Raises InvalidInput when the user has too many channels."""
    with transaction() as db:
        channel = _new(db, user_id, ChannelKind.WEBHOOK, url, wishes, now)
        channel.secret, channel.confirmed_at = dict(sealed_secret), now
        _made(db, channel, now)
        return channel.id


def create_email(
    user_id: UUID, address: str | None, wishes: ChannelWishes, *, code: Code, now: datetime
) -> tuple[UUID, bool]:
    """The channel, and whether it works already: the account's own address (None) does, any other is confirmed first.

    Raises InvalidInput when the user has too many channels or asked for too many codes.
    """
    with transaction() as db:
        own = db.scalar(select(User.email).where(User.id == user_id))
        other = address if address is not None and address != own else None
        channel = _new(db, user_id, ChannelKind.EMAIL, other, wishes, now)
        if other is None:
            channel.confirmed_at = now
        _made(db, channel, now)
        if other is not None:
            _send_code(db, channel, code, now)
        return channel.id, other is None


def change_channel(user_id: UUID, channel_id: UUID, wishes: ChannelWishes, *, now: datetime) -> None:
    """Switching one on again forgets its failures. Raises WhagoError("not_found"), also for another's."""
    with transaction() as db:
        channel = _lock(db, user_id, channel_id)
        if channel.kind == ChannelKind.IN_APP and not wishes.is_active:
            raise InvalidInput(is_active="Notifications in the application cannot be switched off; choose fewer kinds.")
        if wishes.is_active and not channel.is_active:
            _switch_on(db, channel, now)
        _wish(channel, wishes, now)
        watch_thresholds(db, user_id)
        audit(db, user_id, "channel.change", "channel", channel_id, now, name=channel.name, active=channel.is_active)


def remove_channel(user_id: UUID, channel_id: UUID, *, now: datetime) -> None:
    """What waits there is not sent any more. Raises WhagoError("not_found"), also for another's."""
    with transaction() as db:
        channel = _lock(db, user_id, channel_id)
        if channel.kind == ChannelKind.IN_APP:
            raise InvalidInput(channel="Notifications in the application cannot be removed; choose fewer kinds.")
        channel.deleted_at, channel.is_active, channel.secret = now, False, {}
        clear_alert(db, "channel_disabled", str(channel_id), now=now, tell=False)
        watch_thresholds(db, user_id)
        audit(db, user_id, "channel.remove", "channel", channel_id, now, name=channel.name)


def renew_secret(user_id: UUID, channel_id: UUID, *, sealed_secret: Mapping[str, Any], now: datetime) -> None:
    """``sealed_secret`` is the whole new content. Raises WhagoError("not_found") for anything but an own webhook."""
    with transaction() as db:
        channel = _lock(db, user_id, channel_id)
        if channel.kind != ChannelKind.WEBHOOK:
            raise WhagoError("not_found")
        channel.secret, channel.updated_at = dict(sealed_secret), now
        audit(db, user_id, "channel.renew_secret", "channel", channel_id, now, name=channel.name)


def confirm_address(user_id: UUID, channel_id: UUID, code: str, *, now: datetime) -> None:
    """Raises InvalidInput for a wrong code, WhagoError("not_found") for another's channel."""
    with transaction() as db:
        channel = _lock(db, user_id, channel_id)
        if channel.confirmed_at is not None:
            return
        if channel.confirm_hash != token_hash(code):
            raise InvalidInput(code="This is not the code of our last e-mail to this address.")
        channel.confirmed_at, channel.confirm_hash, channel.updated_at = now, None, now
        audit(db, user_id, "channel.confirm", "channel", channel_id, now, name=channel.name)


def send_code_again(user_id: UUID, channel_id: UUID, *, code: Code, now: datetime) -> None:
    """Raises InvalidInput for too many codes or an address that is confirmed, WhagoError("not_found")."""
    with transaction() as db:
        channel = _lock(db, user_id, channel_id)
        if channel.confirmed_at is not None:
            raise InvalidInput(channel="This address is confirmed already.")
        _send_code(db, channel, code, now)


def send_test(user_id: UUID, channel_id: UUID, *, now: datetime) -> UUID:
    """A message for one channel, sent once and soon; returns the delivery.

    Raises WhagoError("not_found"); InvalidInput for a channel that is off or not confirmed, or after too many tests.
    """
    with transaction() as db:
        channel = _lock(db, user_id, channel_id)
        if channel.kind == ChannelKind.IN_APP or not channel.is_active or channel.confirmed_at is None:
            raise InvalidInput(channel="Only a channel that is on and confirmed can be tried.")
        if _sent_lately(db, user_id, "test", now - HOUR) >= TESTS_PER_HOUR:
            raise InvalidInput(channel="That was tried very often in the last hour. Try again later.")
        return _deliver(db, channel, "test", now).id


def _new(
    db: Session, user_id: UUID, kind: ChannelKind, address: str | None, wishes: ChannelWishes, now: datetime
) -> Channel:
    make_first_channels(db, [user_id], now=now)
    db.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))
    held = select(func.count()).where(Channel.user_id == user_id, Channel.deleted_at.is_(None))
    if (db.scalar(held) or 0) >= CHANNELS_PER_USER:
        raise InvalidInput(name="You have 10 channels already. Remove one that is not used any more.")
    channel = Channel(id=new_id(), user_id=user_id, kind=kind, address=address, created_at=now)
    _wish(channel, wishes, now)
    db.add(channel)
    return channel


def _made(db: Session, channel: Channel, now: datetime) -> None:
    watch_thresholds(db, channel.user_id)
    audit(db, channel.user_id, "channel.create", "channel", channel.id, now, name=channel.name, kind=channel.kind)


def _wish(channel: Channel, wishes: ChannelWishes, now: datetime) -> None:
    channel.name = wishes.name
    channel.kinds = sorted(set(wishes.kinds)) if wishes.kinds is not None else None
    channel.events = sorted(set(wishes.events)) if channel.kind == ChannelKind.WEBHOOK else []
    channel.thresholds = sorted(set(wishes.thresholds))
    channel.quiet_from, channel.quiet_to = wishes.quiet_from, wishes.quiet_to
    channel.time_zone = wishes.time_zone
    channel.is_active = wishes.is_active
    channel.updated_at = now


def _switch_on(db: Session, channel: Channel, now: datetime) -> None:
    channel.disabled_at, channel.failing_since, channel.failures = None, None, 0
    clear_alert(db, "channel_disabled", str(channel.id), now=now, data={"name": channel.name})


def _send_code(db: Session, channel: Channel, code: Code, now: datetime) -> None:
    if _sent_lately(db, channel.user_id, "confirm", now - DAY) >= CODES_PER_DAY:
        raise InvalidInput(address="Too many codes were sent today. Try again tomorrow.")
    channel.confirm_hash = code.hash
    _deliver(db, channel, "confirm", now).secret = dict(code.sealed)


def _sent_lately(db: Session, user_id: UUID, kind: str, since: datetime) -> int:
    query = (
        select(func.count())
        .select_from(Delivery)
        .join(Channel, Channel.id == Delivery.channel_id)
        .where(Channel.user_id == user_id, Delivery.kind == kind, Delivery.created_at > since)
    )
    return db.scalar(query) or 0


def _deliver(db: Session, channel: Channel, kind: str, now: datetime) -> Delivery:
    delivery = Delivery(id=new_id(), channel_id=channel.id, kind=kind, created_at=now, due_at=now)
    db.add(delivery)
    return delivery


def _lock(db: Session, user_id: UUID, channel_id: UUID) -> Channel:
    channel = db.scalars(
        select(Channel)
        .where(Channel.id == channel_id, Channel.user_id == user_id, Channel.deleted_at.is_(None))
        .with_for_update()
    ).one_or_none()
    if channel is None:
        raise WhagoError("not_found")
    return channel
