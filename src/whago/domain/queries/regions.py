"""Regions that a chip can be put into."""

from __future__ import annotations

from sqlalchemy import func, select

from whago.domain.models import Provider, Proxy
from whago.domain.models.proxies import takes_chips
from whago.kit.db import reading


def working_regions() -> list[str]:
    """The regions in which a healthy proxy works, by name. Whether it has room is seen when a chip is created."""
    region = func.coalesce(Proxy.region, Provider.region)
    query = (
        select(region)
        .join(Provider, Provider.id == Proxy.provider_id)
        .where(takes_chips(), region.is_not(None))
        .distinct()
        .order_by(region)
    )
    with reading() as db:
        return list(db.scalars(query))
