"""What the demo finds of itself when it starts again."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import Assignment, Chip, Plan, Provider, Proxy, User, UserProxyCost
from whago.kit.db import reading


@dataclass(frozen=True, slots=True)
class DemoChip:
    """A living chip and the way that it has now; None while it waits for one. ``engine``: whose WhatsApp runs it."""

    id: UUID
    alias: str
    engine: str
    proxy_id: UUID | None
    assignment_id: UUID | None
    price_id: int | None


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """``limit_bytes`` None is unlimited."""

    id: UUID
    name: str
    limit_bytes: int | None
    max_chips: int


def demo_provider() -> UUID | None:
    """The simulated provider's row."""
    with reading() as db:
        return db.scalar(select(Provider.id).where(Provider.is_demo, Provider.deleted_at.is_(None)).limit(1))


def has_proxies(provider_id: UUID) -> bool:
    """Whether the provider ever had a proxy."""
    with reading() as db:
        return db.scalar(select(Proxy.id).where(Proxy.provider_id == provider_id).limit(1)) is not None


def living_user(email: str) -> UUID | None:
    """A user by address."""
    with reading() as db:
        return db.scalar(select(User.id).where(User.email == email, User.deleted_at.is_(None)))


def has_usage(user_id: UUID) -> bool:
    """Whether anything was ever metered for this customer."""
    with reading() as db:
        used = select(UserProxyCost.id).where(UserProxyCost.user_id == user_id, UserProxyCost.total_bytes > 0)
        return db.scalar(used.limit(1)) is not None


def plan_called(slug: str) -> DemoPlan:
    """The plan with this slug, or the default one when it is gone."""
    with reading() as db:
        found = db.scalars(
            select(Plan).where((Plan.slug == slug) | Plan.is_default).order_by(Plan.slug != slug)
        ).first()
        assert found is not None, "there is always a default plan"
        return DemoPlan(found.id, found.name, found.limit_bytes, found.max_chips)


def chips_of(owner_id: UUID) -> list[DemoChip]:
    """The owner's chips, oldest first."""
    query = (
        select(Chip.id, Chip.alias, Chip.engine, Assignment.proxy_id, Assignment.id, Provider.current_price_id)
        .outerjoin(Assignment, (Assignment.chip_id == Chip.id) & Assignment.released_at.is_(None))
        .outerjoin(Provider, Provider.id == Assignment.provider_id)
        .where(Chip.user_id == owner_id, Chip.deleted_at.is_(None))
        .order_by(Chip.created_at, Chip.alias)
    )
    with reading() as db:
        return [DemoChip(*row) for row in db.execute(query)]
