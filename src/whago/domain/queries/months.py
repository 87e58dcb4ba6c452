"""A customer's months: what each came to, and which chips made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import Chip, ChipUsageMonth, UserProxyCost
from whago.domain.queries.paging import Order, Page, as_id, as_number, as_text, page_of
from whago.kit.db import reading

MONTHS_SHOWN: Final = 24


@dataclass(frozen=True, slots=True)
class UsedMonth:
    """What one billing month came to. ``cost`` is exact."""

    month: date
    bytes_used: int
    cost: Decimal


@dataclass(frozen=True, slots=True)
class ChipMonth:
    """What one chip used in a billing month. A chip that was deleted since keeps its name."""

    chip_id: UUID
    alias: str
    is_deleted: bool
    bytes_used: int
    cost: Decimal


BY_USAGE: Final = Order((ChipUsageMonth.total_bytes, ChipUsageMonth.chip_id), (as_number, as_id), descending=True)
BY_NAME: Final = Order((Chip.alias, ChipUsageMonth.chip_id), (as_text, as_id))


def used_months(user_id: UUID, *, limit: int = MONTHS_SHOWN) -> Sequence[UsedMonth]:
    """The customer's months with usage, the latest first."""
    query = (
        select(UserProxyCost.month_year, UserProxyCost.total_bytes, UserProxyCost.total_cost)
        .where(UserProxyCost.user_id == user_id, UserProxyCost.total_bytes > 0)
        .order_by(UserProxyCost.month_year.desc())
        .limit(limit)
    )
    with reading() as db:
        return [UsedMonth(*row) for row in db.execute(query)]


def chips_of_month(
    user_id: UUID, month: date, *, by_name: bool = False, limit: int, cursor: str | None
) -> Page[ChipMonth]:
    """The customer's chips with usage in a billing month: who used most first, or by name."""
    query = (
        select(ChipUsageMonth, Chip.alias, Chip.deleted_at)
        .join(Chip, Chip.id == ChipUsageMonth.chip_id)
        .where(ChipUsageMonth.user_id == user_id, ChipUsageMonth.month_year == month, ChipUsageMonth.total_bytes > 0)
    )
    with reading() as db:
        return page_of(
            db,
            query,
            BY_NAME if by_name else BY_USAGE,
            limit=limit,
            cursor=cursor,
            make=_chip_month,
            key=lambda line: (line.alias if by_name else line.bytes_used, line.chip_id),
        )


def _chip_month(row: Any) -> ChipMonth:
    line, alias, deleted_at = row
    return ChipMonth(line.chip_id, alias, deleted_at is not None, line.total_bytes, line.total_cost)
