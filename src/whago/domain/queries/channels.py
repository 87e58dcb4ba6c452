"""Channels of a user, and the log of what was delivered there. No secret leaves here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any
from uuid import UUID

from sqlalchemy import case, select

from whago.domain.models import Channel, CustomerEvent, Delivery, DeliveryAttempt, Notification, User
from whago.domain.queries.paging import DEFAULT_LIMIT, Order, Page, as_id, as_moment, page_of
from whago.errors import WhagoError
from whago.kit.db import reading

NEWEST_FIRST = Order((Delivery.created_at, Delivery.id), (as_moment, as_id), descending=True)
KIND_ORDER = case({"in_app": 0, "email": 1}, value=Channel.kind, else_=2)


@dataclass(frozen=True, slots=True)
class ChannelView:
    """``address``: where it goes, None in the application. ``disabled_at``: switched off by the product itself."""

    id: UUID
    kind: str
    name: str
    address: str | None
    kinds: list[str] | None
    events: list[str]
    thresholds: list[int]
    quiet_from: time | None
    quiet_to: time | None
    time_zone: str | None
    is_active: bool
    is_confirmed: bool
    failures: int
    failing_since: datetime | None
    disabled_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptView:
    number: int
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    reason: str | None
    status: int | None
    excerpt: str | None


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """``about``: the kind of alert or event. ``due_at``: when it is tried next, while it is pending."""

    id: UUID
    kind: str
    about: str | None
    state: str
    created_at: datetime
    due_at: datetime
    sent_at: datetime | None
    error: str | None
    attempts: list[AttemptView]


def list_channels(user_id: UUID) -> list[ChannelView]:
    """The application first, then e-mail, then webhooks. There are few, so there are no pages."""
    query = (
        select(Channel, User.email)
        .join(User, User.id == Channel.user_id)
        .where(Channel.user_id == user_id, Channel.deleted_at.is_(None))
        .order_by(KIND_ORDER, Channel.created_at, Channel.id)
    )
    with reading() as db:
        return [_view(channel, email) for channel, email in db.execute(query)]


def get_channel(user_id: UUID, channel_id: UUID) -> ChannelView:
    """Raises WhagoError("not_found"), also for another's."""
    query = (
        select(Channel, User.email)
        .join(User, User.id == Channel.user_id)
        .where(Channel.id == channel_id, Channel.user_id == user_id, Channel.deleted_at.is_(None))
    )
    with reading() as db:
        row = db.execute(query).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return _view(row[0], row[1])


def sealed_secret(user_id: UUID, channel_id: UUID) -> dict[str, Any]:
    """What the channel has sealed, for renewing it. Raises WhagoError("not_found")."""
    query = select(Channel.secret).where(
        Channel.id == channel_id, Channel.user_id == user_id, Channel.kind == "webhook", Channel.deleted_at.is_(None)
    )
    with reading() as db:
        found = db.scalar(query)
    if found is None:
        raise WhagoError("not_found")
    return dict(found)


def deliveries(
    user_id: UUID, channel_id: UUID, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[DeliveryView]:
    """The log of one channel, newest first. Raises WhagoError("not_found"), also for another's channel."""
    get_channel(user_id, channel_id)
    query = (
        select(Delivery, Notification.kind, CustomerEvent.type)
        .outerjoin(Notification, Notification.id == Delivery.notification_id)
        .outerjoin(CustomerEvent, CustomerEvent.id == Delivery.event_id)
        .where(Delivery.channel_id == channel_id)
    )
    with reading() as db:
        page = page_of(
            db,
            query,
            NEWEST_FIRST,
            limit=limit,
            cursor=cursor,
            make=_delivery,
            key=lambda one: (one.created_at, one.id),
        )
        made = {one.id: one for one in page.items}
        tries = select(DeliveryAttempt).where(DeliveryAttempt.delivery_id.in_(made)).order_by(DeliveryAttempt.number)
        for one in db.scalars(tries):
            made[one.delivery_id].attempts.append(_attempt(one))
    return page


def _view(one: Channel, account_email: str) -> ChannelView:
    return ChannelView(
        id=one.id,
        kind=one.kind,
        name=one.name,
        address=account_email if one.kind == "email" and one.address is None else one.address,
        kinds=one.kinds,
        events=one.events,
        thresholds=one.thresholds,
        quiet_from=one.quiet_from,
        quiet_to=one.quiet_to,
        time_zone=one.time_zone,
        is_active=one.is_active,
        is_confirmed=one.confirmed_at is not None,
        failures=one.failures,
        failing_since=one.failing_since,
        disabled_at=one.disabled_at,
        created_at=one.created_at,
    )


def _delivery(row: Any) -> DeliveryView:
    one, kind, event = row
    return DeliveryView(
        id=one.id,
        kind=one.kind,
        about=kind or event,
        state=one.state,
        created_at=one.created_at,
        due_at=one.due_at,
        sent_at=one.sent_at,
        error=one.error,
        attempts=[],
    )


def _attempt(one: DeliveryAttempt) -> AttemptView:
    return AttemptView(one.number, one.started_at, one.ended_at, one.outcome, one.reason, one.status, one.excerpt)
