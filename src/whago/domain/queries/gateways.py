"""Which gateways live."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import GatewayBoot
from whago.kit.db import reading

LIVES_WITHIN = timedelta(seconds=15)  # an idle gateway reports every five seconds


def living_boots(*, now: datetime) -> set[UUID]:
    """Boots that have given a sign of life lately and have not stopped."""
    with reading() as db:
        return set(
            db.scalars(
                select(GatewayBoot.id).where(
                    GatewayBoot.stopped_at.is_(None),
                    GatewayBoot.is_demo.is_(False),
                    GatewayBoot.last_seen_at > now - LIVES_WITHIN,
                )
            )
        )
