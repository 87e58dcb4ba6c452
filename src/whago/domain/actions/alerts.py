"""What administrators do with alerts."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import Alert
from whago.domain.models.auditing import audit
from whago.errors import WhagoError
from whago.kit.db import transaction


def acknowledge_alert(admin_id: UUID, alert_id: UUID, *, now: datetime) -> None:
    """Somebody looks after it; the first one who says so stays on record. It stays open until its cause is gone.

    Raises WhagoError("not_found").
    """
    with transaction() as db:
        alert = db.scalars(select(Alert).where(Alert.id == alert_id).with_for_update()).one_or_none()
        if alert is None:
            raise WhagoError("not_found")
        if alert.acknowledged_at is None:
            alert.acknowledged_at, alert.acknowledged_by = now, admin_id
            audit(db, admin_id, "alert.acknowledge", "alert", alert_id, now, kind=alert.kind, subject=alert.subject)
