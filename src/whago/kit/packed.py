"""Columns of many rows as arrays in PostgreSQL's binary form: neither side pays for making text and reading it.

An array is a header and, for each item, its length and its bytes, all big-endian (``array_recv`` in the server's
``src/backend/utils/adt/arrayfuncs.c``). A time is microseconds since 2000 (``timestamp.c``), a date days (``date.c``).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import date
from typing import Any, ClassVar, Final

import psycopg
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

_HEADER: Final = struct.Struct(">iiIii")  # dimensions, whether there are nulls, the items' type, how many, first number
_EPOCH_US: Final = 946_684_800_000_000  # 2000-01-01, in microseconds since 1970
_EPOCH_DAY: Final = date(2000, 1, 1).toordinal()


class Column:
    """The values of a column, none of them null; a parameter that stands for an array."""

    __slots__ = ("values",)
    item: ClassVar[str]  # the type's name in PostgreSQL
    item_bytes: ClassVar[int]
    signed: ClassVar[bool] = True

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def numbers(self) -> Sequence[int]:
        """Each value as the integer that it is on the wire."""
        return self.values

    def items(self) -> list[bytes]:
        """Each value by itself. Raises OverflowError for one that the type cannot hold."""
        size, signed = self.item_bytes, self.signed
        return [number.to_bytes(size, "big", signed=signed) for number in self.numbers()]


class Bigints(Column):
    """``int`` values."""

    item, item_bytes = "int8", 8


class Uuids(Column):
    """The integers of ``UUID.int``."""

    item, item_bytes, signed = "uuid", 16, False


class Moments(Column):
    """Microseconds since 1970, as ``int``; in the database times with a zone."""

    item, item_bytes = "timestamptz", 8

    def numbers(self) -> Sequence[int]:
        return [value - _EPOCH_US for value in self.values]


class Days(Column):
    """``date`` values."""

    item, item_bytes = "date", 4

    def numbers(self) -> Sequence[int]:
        return [value.toordinal() - _EPOCH_DAY for value in self.values]


class _ColumnDumper(Dumper):
    """Hands a column to the driver. Raises psycopg.DataError, as the driver does for a number that is too large."""

    format = Format.BINARY
    item_oid: ClassVar[int]

    def dump(self, obj: Column) -> bytes:
        try:
            items = obj.items()
        except OverflowError as error:
            raise psycopg.DataError(f"a value is too large for {obj.item}") from error
        if not items:
            return _HEADER.pack(0, 0, self.item_oid, 0, 0)[:12]
        length = struct.pack(">i", obj.item_bytes)
        return _HEADER.pack(1, 0, self.item_oid, len(items), 1) + length + length.join(items)


def register(adapters: AdaptersMap) -> None:
    """Teaches every connection that is made with these adapters to take columns."""
    for kind in (Bigints, Uuids, Moments, Days):
        info = adapters.types[kind.item]
        name = f"{kind.__name__}Dumper"
        dumper = type(name, (_ColumnDumper,), {"oid": info.array_oid, "item_oid": info.oid})
        adapters.register_dumper(kind, dumper)
