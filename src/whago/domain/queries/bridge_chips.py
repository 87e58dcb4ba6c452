"""Chips that our bridge should be running."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from whago.domain.models import Assignment, Chip, ChipStatus, Engine, User, UserProxyCost
from whago.domain.models.quota import allowances
from whago.domain.rules.months import billing_month
from whago.domain.rules.thresholds import OnLimit, is_spent
from whago.kit.db import reading

CREATION_TAKES = timedelta(minutes=1)  # a younger one is still being handed to the bridge by the request that made it
RUNNING = (ChipStatus.CONNECTING, ChipStatus.WAITING_QR, ChipStatus.CONNECTED, ChipStatus.BLOCKED_QUOTA)


@dataclass(frozen=True, slots=True)
class BridgedChip:
    chip_id: UUID
    owner_id: UUID


def chips_that_should_run(*, now: datetime, tz: ZoneInfo) -> list[BridgedChip]:
    """Those that were not stopped, have a proxy, and whose owner may open new tunnels; also half created ones."""
    half_created = (Chip.status == ChipStatus.CREATED) & (Chip.created_at < now - CREATION_TAKES)
    should_run = Chip.status.in_(RUNNING) | half_created
    query = (
        select(Chip.id, Chip.user_id, UserProxyCost.total_bytes)
        .join(User, User.id == Chip.user_id)
        .join(Assignment, (Assignment.chip_id == Chip.id) & Assignment.released_at.is_(None))
        .outerjoin(
            UserProxyCost,
            (UserProxyCost.user_id == Chip.user_id) & (UserProxyCost.month_year == billing_month(now, tz)),
        )
        .where(Chip.engine == Engine.BRIDGE, Chip.deleted_at.is_(None), should_run, User.is_active)
        .order_by(Chip.created_at, Chip.id)
    )
    with reading() as db:
        rows = db.execute(query).all()
        plans = allowances(db, {owner_id for _chip_id, owner_id, _used in rows})
    return [
        BridgedChip(chip_id, owner_id)
        for chip_id, owner_id, used in rows
        if plans[owner_id].on_limit is OnLimit.BILL or not is_spent(used or 0, plans[owner_id].limit)
    ]
