"""Thresholds of a customer's month, told by the traffic itself: alerts for people, events for their own systems."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models.alerting import Alert, Severity, clear_alert, raise_alert
from whago.domain.models.channels import Channel, CustomerEvent
from whago.domain.models.quota import Allowance
from whago.domain.models.usage import UserProxyCost
from whago.domain.rules.channels import EXHAUSTED_PERCENT, QUOTA_KINDS, ChannelKind, EventType, threshold_of
from whago.domain.rules.thresholds import WARNING_PERCENT, percentage


def tell_threshold(db: Session, row: UserProxyCost, plan: Allowance, percent: int, *, now: datetime) -> None:
    """``percent`` of the limit is reached. Call it under the month's lock and once per threshold and month.

    Lower thresholds of the same month end silently: the higher one says all there is to say.
    """
    kind = "quota_exhausted" if percent == EXHAUSTED_PERCENT else "quota_warning"
    told = month_facts(row, plan)
    if percent not in (WARNING_PERCENT, EXHAUSTED_PERCENT):
        told["threshold"] = percent
    for standing in open_quota_alerts(db, row.user_id):
        if threshold_of(standing.kind, standing.data) < percent:
            clear_alert(db, standing.kind, standing.subject, now=now, tell=False)
    raise_alert(
        db,
        kind,
        f"{row.user_id}:{row.month_year:%Y-%m}:{percent}",
        now=now,
        severity=Severity.ERROR if kind == "quota_exhausted" else Severity.WARNING,
        user_id=row.user_id,
        data=told,
    )
    put_event(db, row.user_id, EventType.USAGE_THRESHOLD, {"threshold_percent": percent, **told}, now=now)


def month_facts(row: UserProxyCost, plan: Allowance) -> dict[str, Any]:
    """What a text about the month needs."""
    return {
        "month": f"{row.month_year:%Y-%m}",
        "used_bytes": row.total_bytes,
        "limit_bytes": plan.limit,
        "percentage": percentage(row.total_bytes, plan.limit),
        "on_limit": plan.on_limit.value,
    }


def open_quota_alerts(db: Session, user_id: UUID) -> list[Alert]:
    """Those about thresholds."""
    query = select(Alert).where(Alert.user_id == user_id, Alert.kind.in_(QUOTA_KINDS), Alert.cleared_at.is_(None))
    return list(db.scalars(query))


def put_event(db: Session, user_id: UUID, event: EventType, facts: dict[str, Any], *, now: datetime) -> None:
    """An event for the customer's own system, when one of its webhooks asks for it."""
    wanted = select(Channel.id).where(
        Channel.user_id == user_id,
        Channel.kind == ChannelKind.WEBHOOK,
        Channel.is_active,
        Channel.deleted_at.is_(None),
        Channel.events.any_() == event.value,
    )
    if db.scalar(wanted.limit(1)) is not None:
        db.add(CustomerEvent(user_id=user_id, type=event.value, data=facts, created_at=now))
