"""The way of a delivery: made from what happened, claimed, and what came of each attempt.

Rows come first: a notification or an event commits with its cause. A clock makes deliveries of it for the channels,
claims those that are due, sends them outside any transaction, and writes down what came of it. Who dies between
sending and writing leaves a claim that runs out; the delivery is then sent again under the same id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import CursorResult, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, contains_eager

from whago.domain.models import (
    Channel,
    CustomerEvent,
    Delivery,
    DeliveryAttempt,
    Notification,
    Severity,
    User,
    raise_alert,
)
from whago.domain.models.first_channels import make_first_channels, watch_thresholds
from whago.domain.rules.channels import ChannelKind, QuietHours, Wishes
from whago.domain.rules.delivering import (
    ARCHIVE_AFTER,
    CLAIM_LASTS,
    GIVE_UP_AFTER,
    gives_up,
    is_hopeless,
    retry_at,
)
from whago.domain.rules.outcomes import Failed, Outcome, Sent
from whago.kit.db import transaction

ROUTED_AT_ONCE: Final = 500  # rows of one transaction
TURNS: Final = 8  # deliveries of one channel in one claim: a slow receiver must not hold up the others
TURNS_WHEN_FAILING: Final = 1
URGENT: Final = "error"  # level that quiet hours do not hold back
ARCHIVED_AT_ONCE: Final = 5_000


@dataclass(frozen=True, slots=True)
class NoticeContent:
    """A notification. ``is_alert``: something is wrong or, at level success, right again."""

    id: UUID
    kind: str
    level: str
    data: dict[str, Any]
    is_alert: bool


@dataclass(frozen=True, slots=True)
class EventContent:
    """Something that a customer's own system asked for. ``number`` grows in the order in which things happened."""

    type: str
    data: dict[str, Any]
    number: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that is ours to send until the claim runs out. ``kind``: notice, event, test or confirm."""

    delivery_id: UUID
    channel_id: UUID
    attempt: int
    kind: str
    channel_kind: ChannelKind
    channel_name: str
    address: str
    created_at: datetime
    user_name: str
    user_email: str
    language: str | None
    time_zone: str | None
    is_admin: bool
    content: NoticeContent | EventContent | None
    sealed_secret: Mapping[str, Any] = field(repr=False)
    sealed_code: Mapping[str, Any] = field(repr=False)


def route_notifications(*, now: datetime, tz: ZoneInfo) -> int:
    """Makes deliveries of notifications that have none yet; returns how many notifications were looked at."""
    with transaction() as db:
        told = db.scalars(
            select(Notification)
            .where(Notification.routed_at.is_(None))
            .order_by(Notification.created_at)
            .limit(ROUTED_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        users = {one.user_id for one in told}
        make_first_channels(db, users, now=now)
        channels = _channels_of(db, users)
        rows = [
            {**_delivery(channel, "notice", now, tz, one.level), "notification_id": one.id}
            for one in told
            if now - one.created_at < GIVE_UP_AFTER
            for channel in channels.get(one.user_id, ())
            if Wishes(channel.kinds, channel.thresholds).want(one.kind, one.data)
        ]
        _put(db, rows)
        _mark_routed(db, Notification, [one.id for one in told], now)
        return len(told)


def route_events(*, now: datetime, tz: ZoneInfo) -> int:
    """The same for events, which only webhooks get."""
    with transaction() as db:
        happened = db.scalars(
            select(CustomerEvent)
            .where(CustomerEvent.routed_at.is_(None))
            .order_by(CustomerEvent.number)
            .limit(ROUTED_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        channels = _channels_of(db, {one.user_id for one in happened})
        rows = [
            {**_delivery(channel, "event", now, tz, URGENT), "event_id": one.id}
            for one in happened
            if now - one.created_at < GIVE_UP_AFTER
            for channel in channels.get(one.user_id, ())
            if one.type in channel.events
        ]
        _put(db, rows)
        _mark_routed(db, CustomerEvent, [one.id for one in happened], now)
        return len(happened)


def claim_deliveries(*, now: datetime, limit: int, without: Collection[UUID] = ()) -> list[Claim]:
    """Takes deliveries that are due, and those whose claim ran out. Each claim is an attempt on record.

    ``without``: channels that are left alone this time.
    """
    with transaction() as db:
        turns = {"few": TURNS_WHEN_FAILING, "many": TURNS}
        due = db.scalars(_DUE, {"now": now, "limit": limit, "without": list(without), **turns}).all()
        found = db.execute(
            select(Delivery, Channel, User, Notification, CustomerEvent)
            .join(Channel, Channel.id == Delivery.channel_id)
            .join(User, User.id == Channel.user_id)
            .outerjoin(Notification, Notification.id == Delivery.notification_id)
            .outerjoin(CustomerEvent, CustomerEvent.id == Delivery.event_id)
            .where(Delivery.id.in_(due), _is_free(now))
            .order_by(Delivery.due_at, Delivery.created_at)
            .with_for_update(of=Delivery, skip_locked=True)
        ).all()
        _note_cut_off(db, [row[0].id for row in found if row[0].state == "sending"], now)
        return [_claim(db, *row, now=now) for row in found]


def finish_attempt(claim: Claim, outcome: Outcome, *, now: datetime) -> None:
    """Writes down what came of an attempt. Harmless when another worker has taken the delivery over meanwhile."""
    with transaction() as db:
        delivery = db.scalars(select(Delivery).where(Delivery.id == claim.delivery_id).with_for_update()).one_or_none()
        if delivery is None:
            return
        channel = db.scalars(select(Channel).where(Channel.id == delivery.channel_id).with_for_update()).one()
        is_ours = delivery.state == "sending" and delivery.attempts == claim.attempt
        if isinstance(outcome, Sent):
            _sent(delivery, channel, now)
        elif is_ours:
            _failed(db, delivery, channel, outcome, now)
        _note_end(db, claim, outcome, delivery.state, now)


def end_old(*, now: datetime) -> tuple[int, int]:
    """Gives up what waited too long (its channel was off), and removes old records; returns how many of each."""
    with transaction() as db:
        ended = db.execute(
            update(Delivery)
            .where(Delivery.state == "pending", Delivery.created_at < now - GIVE_UP_AFTER, Delivery.due_at < now)
            .where(
                Delivery.channel_id.in_(
                    select(Channel.id).where(
                        or_(
                            Channel.is_active.is_(False),
                            Channel.deleted_at.is_not(None),
                            Channel.confirmed_at.is_(None),
                        )
                    )
                )
            )
            .values(state="failed", error="too_old")
        )
        old = (
            select(Delivery.id)
            .where(Delivery.created_at < now - ARCHIVE_AFTER, Delivery.state.in_(("sent", "failed")))
            .limit(ARCHIVED_AT_ONCE)
        )
        removed = db.execute(delete(Delivery).where(Delivery.id.in_(old)))
        unused = (
            select(CustomerEvent.id)
            .where(CustomerEvent.created_at < now - ARCHIVE_AFTER, CustomerEvent.routed_at.is_not(None))
            .where(~select(Delivery.id).where(Delivery.event_id == CustomerEvent.id).exists())
            .limit(ARCHIVED_AT_ONCE)
        )
        db.execute(delete(CustomerEvent).where(CustomerEvent.id.in_(unused)))
        assert isinstance(ended, CursorResult)
        assert isinstance(removed, CursorResult)
        return ended.rowcount, removed.rowcount


_DUE: Final = text("""
SELECT id FROM (
    SELECT d.id, d.due_at, d.kind, c.failures,
           row_number() OVER (PARTITION BY d.channel_id ORDER BY d.kind = 'test' DESC, d.due_at, d.created_at) AS turn
    FROM deliveries d JOIN channels c ON c.id = d.channel_id
    WHERE d.state IN ('pending', 'sending') AND d.due_at <= :now
      AND (d.state = 'pending' OR d.claimed_until <= :now)
      AND NOT c.id = ANY(CAST(:without AS uuid[]))
      AND c.is_active AND c.deleted_at IS NULL AND (c.confirmed_at IS NOT NULL OR d.kind = 'confirm')
) waiting
WHERE turn <= CASE WHEN failures > 0 THEN :few ELSE :many END
ORDER BY kind IN ('test', 'confirm') DESC, due_at LIMIT :limit
""")


def _is_free(now: datetime) -> Any:
    return or_(Delivery.state == "pending", (Delivery.state == "sending") & (Delivery.claimed_until <= now))


def _channels_of(db: Session, user_ids: Collection[UUID]) -> dict[UUID, list[Channel]]:
    """Channels to send to, of users who may sign in."""
    found = db.scalars(
        select(Channel)
        .join(Channel.user)
        .options(contains_eager(Channel.user))
        .where(
            Channel.user_id.in_(user_ids),
            Channel.kind != ChannelKind.IN_APP,
            Channel.is_active,
            Channel.confirmed_at.is_not(None),
            Channel.deleted_at.is_(None),
            User.is_active,
            User.deleted_at.is_(None),
        )
    )
    channels: dict[UUID, list[Channel]] = {}
    for channel in found:
        channels.setdefault(channel.user_id, []).append(channel)
    return channels


def _delivery(channel: Channel, kind: str, now: datetime, tz: ZoneInfo, level: str) -> dict[str, Any]:
    due = now
    if level != URGENT and channel.quiet_from is not None and channel.quiet_to is not None:
        zone = ZoneInfo(channel.time_zone or channel.user.time_zone or tz.key)
        due = QuietHours(channel.quiet_from, channel.quiet_to, zone).over_at(now)
    return {"channel_id": channel.id, "kind": kind, "created_at": now, "due_at": due}


def _put(db: Session, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        db.execute(insert(Delivery).on_conflict_do_nothing(), rows)


def _mark_routed(db: Session, table: Any, ids: Sequence[UUID], now: datetime) -> None:
    db.execute(
        update(table).where(table.id.in_(ids)).values(routed_at=now).execution_options(synchronize_session=False)
    )


def _note_cut_off(db: Session, delivery_ids: Sequence[UUID], now: datetime) -> None:
    db.execute(
        update(DeliveryAttempt)
        .where(DeliveryAttempt.delivery_id.in_(delivery_ids), DeliveryAttempt.ended_at.is_(None))
        .values(ended_at=now, outcome="cut_off", reason="worker_ended")
        .execution_options(synchronize_session=False)
    )


def _claim(
    db: Session,
    delivery: Delivery,
    channel: Channel,
    user: User,
    notification: Notification | None,
    event: CustomerEvent | None,
    *,
    now: datetime,
) -> Claim:
    delivery.state, delivery.claimed_until = "sending", now + CLAIM_LASTS
    delivery.attempts += 1
    db.add(DeliveryAttempt(delivery_id=delivery.id, number=delivery.attempts, started_at=now))
    return Claim(
        delivery_id=delivery.id,
        channel_id=channel.id,
        attempt=delivery.attempts,
        kind=delivery.kind,
        channel_kind=ChannelKind(channel.kind),
        channel_name=channel.name,
        address=channel.address or user.email,
        created_at=event.created_at if event else notification.created_at if notification else delivery.created_at,
        user_name=user.name,
        user_email=user.email,
        language=user.language,
        time_zone=channel.time_zone or user.time_zone,
        is_admin=user.is_admin,
        content=_content(notification, event),
        sealed_secret=channel.secret,
        sealed_code=delivery.secret,
    )


def _content(notification: Notification | None, event: CustomerEvent | None) -> NoticeContent | EventContent | None:
    if event is not None:
        return EventContent(event.type, event.data, event.number)
    if notification is None:
        return None
    one = notification
    return NoticeContent(one.id, one.kind, one.level, one.data, is_alert=one.alert_id is not None)


def _sent(delivery: Delivery, channel: Channel, now: datetime) -> None:
    delivery.state, delivery.claimed_until, delivery.error, delivery.secret = "sent", None, None, {}
    delivery.sent_at = delivery.sent_at or now
    channel.failures, channel.failing_since = 0, None


def _failed(db: Session, delivery: Delivery, channel: Channel, failure: Failed, now: datetime) -> None:
    next_at = retry_at(delivery.id, delivery.attempts, now, failure.retry_after_s)
    over = not failure.again or delivery.kind == "test" or gives_up(delivery.created_at, next_at)
    delivery.state, delivery.claimed_until = ("failed" if over else "pending"), None
    delivery.error, delivery.due_at = failure.reason, next_at
    if failure.is_ours or delivery.kind == "test":
        return
    channel.failures += 1
    channel.failing_since = channel.failing_since or now
    if channel.is_active and (failure.gone or is_hopeless(channel.failures, channel.failing_since, now)):
        _switch_off(db, channel, failure, now)


def _switch_off(db: Session, channel: Channel, failure: Failed, now: datetime) -> None:
    channel.is_active, channel.disabled_at = False, now
    watch_thresholds(db, channel.user_id)
    raise_alert(
        db,
        "channel_disabled",
        str(channel.id),
        now=now,
        severity=Severity.WARNING,
        user_id=channel.user_id,
        data={
            "channel_id": str(channel.id),
            "name": channel.name,
            "failures": channel.failures,
            "reason": f"HTTP {failure.status}" if failure.status else failure.reason,
        },
    )


def _note_end(db: Session, claim: Claim, outcome: Outcome, state: str, now: datetime) -> None:
    ended = "sent" if isinstance(outcome, Sent) else "retry" if state == "pending" else "failed"
    db.execute(
        update(DeliveryAttempt)
        .where(DeliveryAttempt.delivery_id == claim.delivery_id, DeliveryAttempt.number == claim.attempt)
        .values(ended_at=now, outcome=ended, reason=outcome.reason, status=outcome.status, excerpt=outcome.excerpt)
        .execution_options(synchronize_session=False)
    )
