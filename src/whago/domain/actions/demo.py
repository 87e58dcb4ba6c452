"""What only the demo does to data: marking its customers, and following the simulated provider to another port."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import select, update

from whago.domain.models import Provider, Proxy, User
from whago.kit.db import signal, transaction


def mark_demo(user_ids: Sequence[UUID]) -> None:
    """These customers are the demo's own."""
    with transaction() as db:
        db.execute(update(User).where(User.id.in_(user_ids)).values(is_demo=True))


def point_demo_at(provider_id: UUID, *, host: str, port: int, now: datetime) -> bool:
    """The simulated provider listens here now; returns whether that is news. A static proxy keeps its own host."""
    with transaction() as db:
        provider = db.scalars(
            select(Provider).where(Provider.id == provider_id, Provider.is_demo).with_for_update()
        ).one_or_none()
        if provider is None or (provider.host, provider.port) == (host, port):
            return False
        provider.host, provider.port, provider.updated_at = host, port, now
        proxies = select(Proxy).where(Proxy.provider_id == provider_id, Proxy.deleted_at.is_(None))
        for proxy in db.scalars(proxies.order_by(Proxy.id).with_for_update()):
            own_host = urlsplit(proxy.proxy_url).hostname if proxy.proxy_type == "static" else host
            proxy.proxy_url, proxy.updated_at = f"http://{own_host}:{port}", now
        signal(db, "provider", provider_id)
        return True
