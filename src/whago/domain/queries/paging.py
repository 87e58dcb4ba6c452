"""Lists in pages: keyset cursors, so that a page costs the same wherever it is and nothing is skipped or repeated."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Select, or_, tuple_
from sqlalchemy.orm import Session

from whago.errors import InvalidInput

DEFAULT_LIMIT = 50
MAX_LIMIT = 200  # rows a page: more is a report, not a page
CURSOR_MAX_CHARS = 1_000
INT_MAX = 2**63 - 1

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """``next_cursor`` asks for what follows; None at the end."""

    items: Sequence[Row]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """Columns that together are unique, how to read each from a cursor, and the direction, the same for all."""

    columns: tuple[ColumnElement[Any] | Any, ...]
    readers: tuple[Callable[[Any], Any], ...]
    descending: bool = False


def as_moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("naive")
    return moment


def as_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > INT_MAX:
        raise ValueError("not a number")
    return value


def as_amount(value: Any) -> Decimal:
    try:
        amount = Decimal(as_text(value))
    except InvalidOperation:
        raise ValueError("not an amount") from None
    if not amount.is_finite():
        raise ValueError("not an amount")
    return amount


def as_text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("not text")
    value.encode()
    return value


def as_id(value: Any) -> UUID:
    return UUID(as_text(value))


def has_text(search: str, *columns: ColumnElement[Any] | Any) -> ColumnElement[bool]:
    """Whether a column contains it, in either case; where it has none, the database need not fold each row."""
    if search.lower() == search.upper():
        return or_(*(column.contains(search, autoescape=True) for column in columns))
    return or_(*(column.icontains(search, autoescape=True) for column in columns))


def page_of(
    db: Session,
    query: Select[*tuple[Any, ...]],
    order: Order,
    *,
    limit: int,
    cursor: str | None,
    make: Callable[[Any], Row],
    key: Callable[[Row], tuple[Any, ...]],
) -> Page[Row]:
    """The next ``limit`` rows after ``cursor``. Raises InvalidInput for a cursor that is not of this list."""
    columns = tuple_(*order.columns)
    if cursor is not None:
        after = tuple_(*read_cursor(cursor, order))
        query = query.where(columns < after if order.descending else columns > after)
    query = query.order_by(*(column.desc() if order.descending else column.asc() for column in order.columns))
    rows = [make(row) for row in db.execute(query.limit(limit + 1)).all()]
    more = len(rows) > limit
    items = rows[:limit]
    return Page(items, write_cursor(key(items[-1])) if more else None)


def write_cursor(values: tuple[Any, ...]) -> str:
    plain = [value if isinstance(value, int) else str(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def read_cursor(cursor: str, order: Order) -> list[Any]:
    try:
        if len(cursor) > CURSOR_MAX_CHARS:
            raise ValueError("too long")
        values = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        return [read(value) for read, value in zip(order.readers, values, strict=True)]
    except (ValueError, TypeError, binascii.Error, RecursionError) as error:
        raise InvalidInput(cursor="This is not a cursor of this list.") from error
