"""Gateway boots: one row per life of a gateway process."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import GatewayBoot
from whago.kit.answers import tell_followed
from whago.kit.db import transaction

SILENT_AFTER = timedelta(seconds=15)  # a gateway reports every second; fifteen misses are not a hiccup


def register_boot(boot_id: UUID, *, host: str, pid: int, port: int, now: datetime, is_demo: bool = False) -> None:
    """Announces a gateway before it accepts anybody."""
    with transaction() as db:
        db.merge(
            GatewayBoot(id=boot_id, host=host, pid=pid, port=port, started_at=now, last_seen_at=now, is_demo=is_demo)
        )


def answer_signal(boot_id: UUID, token: UUID) -> None:
    """This boot follows the change that was signalled under ``token``."""
    with transaction() as db:
        tell_followed(db, boot_id, token)


def silent_boots(*, now: datetime) -> list[UUID]:
    """Boots that neither stopped nor reported lately: their counter files wait to be settled."""
    with transaction() as db:
        return list(
            db.scalars(
                select(GatewayBoot.id).where(
                    GatewayBoot.stopped_at.is_(None),
                    GatewayBoot.is_demo.is_(False),
                    GatewayBoot.last_seen_at < now - SILENT_AFTER,
                )
            )
        )
