"""Five minutes of every chip, reported through the real action as gateways do."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import text

from whago.domain.actions.gateways import register_boot
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.rules.months import usage_hour
from whago.kit import clock, db
from whago.kit.ids import new_id

CHIPS_PER_REPORT: Final = 500
BYTES_PER_STEP: Final = 3_000


class Traffic:
    """Each chip keeps one tunnel open; every ``move`` adds to all of them. ``chips``: how many; None is all."""

    def __init__(self, tz: ZoneInfo, chips: int | None = None) -> None:
        self.tz = tz
        self.boot: UUID = new_id()
        self.steps = 0
        register_boot(self.boot, host="bench", pid=1, port=1, now=clock.now())
        with db.transaction() as tx:
            self.chips = tx.execute(
                text(
                    "SELECT * FROM (SELECT n, user_id, chip_id, proxy_id, assignment_id, price_id FROM bench_chips"
                    " ORDER BY md5(n::text) LIMIT :chips) AS those ORDER BY user_id"
                ),
                {"chips": chips},
            ).all()

    def move(self) -> int:
        """Returns how many ledger rows moved."""
        self.steps += 1
        now = clock.now()
        for first in range(0, len(self.chips), CHIPS_PER_REPORT):
            usages = [self.usage(chip, now) for chip in self.chips[first : first + CHIPS_PER_REPORT]]
            record_usage(self.boot, usages, now=clock.now(), tz=self.tz, open_tunnels=len(self.chips))
        return len(self.chips)

    def usage(self, chip: Sequence[object], now: datetime) -> MeteredUsage:
        number, user_id, chip_id, proxy_id, assignment_id, price_id = chip
        hour = usage_hour(now, self.tz)
        return MeteredUsage(
            tunnel_id=1000 + number,  # type: ignore[operator]
            user_id=user_id,  # type: ignore[arg-type]
            chip_id=chip_id,  # type: ignore[arg-type]
            proxy_id=proxy_id,  # type: ignore[arg-type]
            assignment_id=assignment_id,  # type: ignore[arg-type]
            price_id=price_id,  # type: ignore[arg-type]
            hour=hour,
            bytes_up=0,
            bytes_down=self.steps * BYTES_PER_STEP,
            overhead=420,
            started_at=hour,
            last_at=now,
        )
