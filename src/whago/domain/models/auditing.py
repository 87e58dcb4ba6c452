"""Writing the audit log inside the transaction of what it records."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from whago.domain.models.records import AuditEntry


def audit(
    db: Session,
    actor_id: UUID | None,
    action: str,
    target_kind: str,
    target_id: object,
    now: datetime,
    **details: object,
) -> None:
    """One entry. ``details`` are plain JSON values and never a secret."""
    db.add(
        AuditEntry(
            at=now,
            actor_id=actor_id,
            action=action,
            target_kind=target_kind,
            target_id=str(target_id),
            data=details,
        )
    )
