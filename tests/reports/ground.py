"""A month with known figures: two customers, three chips, two providers, and a price that changed in between."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import select, text

from tests.factories import TZ, make_chip, make_provider, make_proxy, make_user
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import Assignment, Provider, ProviderPrice, User
from whago.domain.rules.months import HOUR, month_start, usage_hour
from whago.kit import db
from whago.kit.ids import new_id

OCTOBER = date(2026, 10, 1)
NOVEMBER = date(2026, 11, 1)
IN_OCTOBER = datetime(2026, 10, 10, 15, tzinfo=UTC)
IN_NOVEMBER = datetime(2026, 11, 15, 15, tzinfo=UTC)
AFTER = month_start(NOVEMBER, TZ) + timedelta(hours=2)  # October has ended, and the grace is over
MB = 10**6


class Ground:
    """``ana`` has the Business plan (R$ 97), ``bia`` the Enterprise plan (R$ 297); one gateway reports for both."""

    def __init__(self) -> None:
        self.cheap: Provider = make_provider(name="Cheap", cost_per_gb=Decimal(20))
        make_proxy(self.cheap)
        self.ana: User = make_user("business", name="Ana", created_at=IN_OCTOBER - timedelta(days=40))
        self.bia: User = make_user("enterprise", name="Bia", created_at=IN_OCTOBER - timedelta(days=40))
        self.chips = {
            name: make_chip(owner, alias=name, now=IN_OCTOBER).chip_id
            for owner, name in ((self.ana, "a1"), (self.ana, "a2"), (self.bia, "b1"))
        }
        self.boot = new_id()
        self.tunnels = 0
        register_boot(self.boot, host="h", pid=1, port=1, now=IN_OCTOBER)

    def use(self, chip: str, count: int, at: datetime = IN_OCTOBER, *, price_id: int | None = None, **how: Any) -> int:
        """Some bytes of one tunnel; returns how many were added."""
        self.tunnels += 1
        return record_usage(
            how.pop("boot", self.boot),
            [self.usage(chip, count, at, price_id=price_id, tunnel=how.pop("tunnel", self.tunnels))],
            now=how.pop("now", at),
            tz=TZ,
            open_tunnels=1,
        )

    def usage(self, chip: str, count: int, at: datetime, *, price_id: int | None, tunnel: int) -> MeteredUsage:
        chip_id = self.chips[chip]
        with db.transaction() as tx:
            assignment = tx.scalars(
                select(Assignment).where(Assignment.chip_id == chip_id, Assignment.released_at.is_(None))
            ).one()
        owner: UUID = self.bia.id if chip.startswith("b") else self.ana.id
        return MeteredUsage(
            tunnel_id=tunnel,
            user_id=owner,
            chip_id=chip_id,
            proxy_id=assignment.proxy_id,
            assignment_id=assignment.id,
            price_id=price_id or self.cheap.current_price_id or 0,
            hour=usage_hour(at, TZ),
            bytes_up=count,
            bytes_down=0,
            overhead=0,
            started_at=at,
            last_at=at,
        )

    def new_price(self, cost_per_gb: str, at: datetime = IN_OCTOBER) -> int:
        """A later price of the same provider."""
        with db.transaction() as tx:
            price = ProviderPrice(
                provider_id=self.cheap.id, cost_per_gb=Decimal(cost_per_gb), bytes_per_gb=10**9, currency="BRL",
                effective_from=at,
            )  # fmt: skip
            tx.add(price)
            tx.flush()
            return price.id

    def october(self) -> None:
        """a1: 100 MB at R$ 20 and 50 MB at R$ 30; a2: 1 MB; b1: 300 MB over two hours."""
        dearer = self.new_price("30", IN_OCTOBER + timedelta(days=1))
        self.use("a1", 100 * MB)
        self.use("a1", 50 * MB, IN_OCTOBER + timedelta(days=2), price_id=dearer)
        self.use("a2", 1 * MB)
        self.use("b1", 100 * MB)
        self.use("b1", 200 * MB, IN_OCTOBER + HOUR)


def execute(sql: str, **values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement, committed."""
    with db.transaction() as tx:
        result = tx.execute(text(sql), values)
        return [tuple(row) for row in result] if result.returns_rows else []
