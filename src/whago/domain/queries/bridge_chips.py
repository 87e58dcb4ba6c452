"""Chips that our bridges should be running, and those that they should not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select

from whago.domain.models import Assignment, Bridge, Chip, ChipHold, ChipStatus, Engine, User, UserProxyCost
from whago.domain.models.quota import allowances
from whago.domain.rules.months import billing_month
from whago.domain.rules.thresholds import OnLimit, is_spent
from whago.domain.rules.thrift import Thrift, thrift_of
from whago.kit.db import reading

CREATION_TAKES = timedelta(minutes=1)  # a younger one is still being handed to the bridge by the request that made it
BAD_CREDENTIAL = "bad_credential"
CREDENTIAL_PAUSE = timedelta(seconds=30)  # a gateway that refuses every credential must not fill the chip's history
RUNNING = (
    ChipStatus.CONNECTING,
    ChipStatus.WAITING_QR,
    ChipStatus.CONNECTED,
    ChipStatus.BLOCKED_QUOTA,
    ChipStatus.WAITING_PROXY,
)


@dataclass(frozen=True, slots=True)
class BridgedChip:
    """``holder``: the address of the living bridge that holds it."""

    chip_id: UUID
    owner_id: UUID
    thrift: Thrift
    holder: str | None


def chips_that_should_run(*, now: datetime, tz: ZoneInfo) -> list[BridgedChip]:
    """Those that were not stopped, have a proxy, and whose owner may open new tunnels; also half created ones."""
    half_created = (Chip.status == ChipStatus.CREATED) & (Chip.created_at < now - CREATION_TAKES)
    wants_credential = (Chip.status_reason == BAD_CREDENTIAL) & (Chip.last_activity_at < now - CREDENTIAL_PAUSE)
    should_run = Chip.status.in_(RUNNING) | half_created | wants_credential
    query = (
        select(Chip.id, Chip.user_id, Chip.thrift, UserProxyCost.total_bytes, Bridge)
        .join(User, User.id == Chip.user_id)
        .join(Assignment, (Assignment.chip_id == Chip.id) & Assignment.released_at.is_(None))
        .outerjoin(
            UserProxyCost,
            (UserProxyCost.user_id == Chip.user_id) & (UserProxyCost.month_year == billing_month(now, tz)),
        )
        .outerjoin(ChipHold, ChipHold.chip_id == Chip.id)
        .outerjoin(Bridge, Bridge.id == ChipHold.bridge_id)
        .where(Chip.engine == Engine.BRIDGE, Chip.deleted_at.is_(None), should_run, User.is_active)
        .order_by(Chip.created_at, Chip.id)
    )
    with reading() as db:
        rows = db.execute(query).all()
        plans = allowances(db, {row.user_id for row in rows})
    return [
        BridgedChip(chip_id, owner_id, thrift_of(thrift), _living(bridge, now))
        for chip_id, owner_id, thrift, used, bridge in rows
        if plans[owner_id].on_limit is OnLimit.BILL or not is_spent(used or 0, plans[owner_id].limit)
    ]


def strangers_among(chip_ids: Collection[UUID]) -> list[UUID]:
    """Those that are no living chip of our bridges: a bridge that was away when they were deleted still runs them."""
    known = select(Chip.id).where(Chip.id.in_(chip_ids), Chip.engine == Engine.BRIDGE, Chip.deleted_at.is_(None))
    with reading() as db:
        return sorted(set(chip_ids) - set(db.scalars(known)))


def _living(bridge: Bridge | None, now: datetime) -> str | None:
    return bridge.url if bridge is not None and bridge.sign().is_fresh(now) else None
