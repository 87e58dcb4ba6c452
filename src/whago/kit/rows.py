"""Many rows in one statement: a column travels as one array, so neither side pays for a statement per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Table, Text, bindparam, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.types import TypeEngine

Plain = int | bool | UUID | Decimal | date
"""What needs no quotes inside an array (``datetime`` is a ``date``). All values of a column are of one type."""

_TEXTS: Final[dict[type, Callable[[Any], str]]] = {
    date: date.isoformat,
    datetime: datetime.isoformat,
    UUID: attrgetter("hex"),  # half the price of its dashes
}


def insert_arrays(table: Table, names: Sequence[str]) -> Insert:
    """INSERT … SELECT … FROM unnest(…), to be executed with ``columns_of(names, rows)``; rows go in in their order.

    Columns that are not named get their server defaults.
    """
    source = (
        func.unnest(*(array_parameter(name, table.c[name].type) for name in names))
        .table_valued(*names)
        .render_derived()
    )
    return insert(table).from_select(list(names), select(*(source.c[name] for name in names)), include_defaults=False)


def array_parameter(name: str, item: TypeEngine[Any]) -> ColumnElement[Sequence[object]]:
    """A parameter that takes what ``array_literal`` makes."""
    return cast(bindparam(name, type_=Text()), ARRAY(item))


def columns_of(names: Sequence[str], rows: Iterable[Sequence[Plain]]) -> dict[str, str]:
    """The parameters of ``insert_arrays``. Every row has its values in the order of ``names``, none of them null."""
    return {name: array_literal(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def array_literal(values: Sequence[Plain]) -> str:
    """The text form of an array (PostgreSQL manual, section 8.15.2): the driver would take each item by itself."""
    to_text: Callable[[Any], str] = _TEXTS.get(type(values[0]), str) if values else str
    return "{" + ",".join(map(to_text, values)) + "}"


def arrays_literal(arrays: Sequence[str]) -> str:
    """Several arrays in their text form as one."""
    return "{" + ",".join(array[1:-1] for array in arrays) + "}"
