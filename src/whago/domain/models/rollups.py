"""What a report adds to hours, chip months, price months and proxies, in the transaction that writes the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import bindparam, update
from sqlalchemy.dialects.postgresql import Insert
from sqlalchemy.orm import Session

from whago.domain.models.ledger import Moved
from whago.domain.models.proxies import Proxy
from whago.domain.models.usage import ChipUsageMonth, UsageHour, UsagePriceMonth
from whago.kit.rows import columns_of, insert_arrays

Rollup = tuple[tuple[str, ...], tuple[str, ...], Insert]
"""Names of the key, names of all columns, and the statement that adds rows of them to what stands."""


def add_to_rollups(db: Session, moved: Sequence[Moved], now: datetime) -> None:
    """Rows are taken in the order of their keys, so that two reports never wait for each other in a circle."""
    if not moved:
        return
    _add(db, HOURS, moved, (now,))
    _add(db, CHIP_MONTHS, moved, (now,))
    _add(db, PRICE_MONTHS, moved, ())
    _add_to_proxies(db, moved)


def _add(db: Session, rollup: Rollup, moved: Sequence[Moved], stamp: tuple[datetime, ...]) -> None:
    keys, names, statement = rollup
    key_of = attrgetter(*keys)
    sums: dict[Any, list[Any]] = {}
    for entry in moved:
        row = sums.setdefault(key_of(entry), [entry.user_id, 0, Decimal(0)])
        row[1] += entry.added_bytes
        row[2] += entry.added_cost
    rows = [(*key, *row, *stamp) for key, row in sorted(sums.items(), key=lambda item: item[0])]
    db.execute(statement, columns_of(names, rows))


def _add_to_proxies(db: Session, moved: Sequence[Moved]) -> None:
    added: dict[UUID, int] = {}
    for entry in moved:
        added[entry.proxy_id] = added.get(entry.proxy_id, 0) + entry.added_bytes
    table = Proxy.__table__
    db.connection().execute(
        update(Proxy)
        .where(table.c.id == bindparam("key"))
        .values(total_bytes_used=table.c.total_bytes_used + bindparam("added")),
        [{"key": proxy_id, "added": added[proxy_id]} for proxy_id in sorted(added)],
    )


def _sums_into(model: Any, keys: tuple[str, ...], *, stamped: bool) -> Rollup:
    names = (*keys, "user_id", "total_bytes", "total_cost", *(["changed_at"] if stamped else []))
    new = insert_arrays(model.__table__, names)
    moved: Mapping[str, Any] = {
        name: model.__table__.c[name] + new.excluded[name] for name in ("total_bytes", "total_cost")
    }
    stamp = {"changed_at": new.excluded.changed_at} if stamped else {}
    return keys, names, new.on_conflict_do_update(index_elements=_key_of(model), set_={**moved, **stamp})


def _key_of(model: Any) -> list[str]:
    return [column.name for column in model.__table__.primary_key]


HOURS: Final = _sums_into(UsageHour, ("chip_id", "provider_id", "hour"), stamped=True)
CHIP_MONTHS: Final = _sums_into(ChipUsageMonth, ("chip_id", "month_year"), stamped=True)
PRICE_MONTHS: Final = _sums_into(
    UsagePriceMonth, ("month_year", "chip_id", "proxy_id", "price_id", "provider_id"), stamped=False
)
