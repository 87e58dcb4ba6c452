"""Regions that a chip can be put into."""

from __future__ import annotations

from sqlalchemy import func, select

from whago.domain.models import Provider, Proxy
from whago.domain.rules.selection import HEALTHY_SCORE
from whago.kit.db import reading


def working_regions() -> list[str]:
    """The regions in which a healthy proxy works, by name. Whether it has room is seen when a chip is created."""
    region = func.coalesce(Proxy.region, Provider.region)
    query = (
        select(region)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(
            Proxy.is_active,
            Proxy.deleted_at.is_(None),
            Provider.is_active,
            Provider.deleted_at.is_(None),
            Proxy.health_score >= HEALTHY_SCORE,
            region.is_not(None),
        )
        .distinct()
        .order_by(region)
    )
    with reading() as db:
        return list(db.scalars(query))
