"""Chips that waited for quota: free again as soon as their customer may use more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from whago.domain.models.assigning import note
from whago.domain.models.chips import Chip, ChipStatus, Engine
from whago.domain.models.quota import allowances
from whago.domain.models.usage import UserProxyCost
from whago.domain.rules.months import billing_month
from whago.domain.rules.thresholds import OnLimit, is_spent


def unblock_chips(db: Session, user_ids: Sequence[UUID], *, now: datetime, tz: ZoneInfo) -> int:
    """Blocked chips of these users may run again where quota is left: external ones rest, the bridge's are resumed."""
    blocked = db.scalars(
        select(Chip)
        .where(Chip.user_id.in_(user_ids), Chip.status == ChipStatus.BLOCKED_QUOTA, Chip.deleted_at.is_(None))
        .with_for_update()
    ).all()
    owners = {chip.user_id for chip in blocked}
    if not owners:
        return 0
    month = billing_month(now, tz)
    totals = select(UserProxyCost.user_id, UserProxyCost.total_bytes).where(
        UserProxyCost.user_id.in_(owners), UserProxyCost.month_year == month
    )
    used = dict(db.execute(totals).all())
    plans = allowances(db, owners)
    freed = 0
    for chip in blocked:
        plan = plans[chip.user_id]
        if plan.on_limit is OnLimit.BILL or not is_spent(used.get(chip.user_id, 0), plan.limit):
            resumes = chip.engine == Engine.BRIDGE
            chip.status = ChipStatus.CONNECTING if resumes else ChipStatus.DISCONNECTED
            chip.status_reason = None
            note(db, chip.id, "quota_available", now)
            freed += 1
    return freed
