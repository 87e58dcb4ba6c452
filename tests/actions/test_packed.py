"""Columns in binary form arrive as they were, through the real driver and server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError

from whago.kit.clock import microseconds
from whago.kit.db import transaction
from whago.kit.ids import new_id_numbers
from whago.kit.packed import Bigints, Column, Days, Moments, Uuids

pytestmark = pytest.mark.usefixtures("database")

TIMES = [
    datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1),
    datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 29, 1, 2, 3, 456_789, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
DATES = [date(1, 1, 1), date(1999, 12, 31), date(2000, 1, 1), date(9999, 12, 31)]
NUMBERS = [-(2**63), -1, 0, 1, 2**63 - 1]
IDS = [0, 1, 2**128 - 1]


def arrived(column: Column, item: str) -> list[Any]:
    with transaction() as db:
        return list(db.scalars(text(f"SELECT unnest(CAST(:column AS {item}[]))"), {"column": column}))


@pytest.mark.parametrize(
    ("column", "item", "wanted"),
    [
        (Bigints(NUMBERS), "bigint", NUMBERS),
        (Uuids(IDS), "uuid", [UUID(int=one) for one in IDS]),
        (Moments([microseconds(moment) for moment in TIMES]), "timestamptz", TIMES),
        (Days(DATES), "date", DATES),
        (Bigints(list(range(5_000))), "bigint", list(range(5_000))),
    ],
    ids=["bigints", "uuids", "moments", "days", "many"],
)
def test_each_value_arrives_as_it_was(column: Column, item: str, wanted: Sequence[object]) -> None:
    assert arrived(column, item) == wanted


@pytest.mark.parametrize(
    ("kind", "item"), [(Bigints, "bigint"), (Uuids, "uuid"), (Moments, "timestamptz"), (Days, "date")]
)
def test_a_column_without_values_is_an_empty_array(kind: type[Column], item: str) -> None:
    assert arrived(kind([]), item) == []
    with transaction() as db:
        assert db.scalar(text(f"SELECT cardinality(CAST(:column AS {item}[]))"), {"column": kind([])}) == 0


@pytest.mark.parametrize("column", [Bigints([1, 2**63]), Moments([2**64])], ids=["number", "time"])
def test_a_value_without_a_place_is_refused_as_the_driver_refuses_one(column: Column) -> None:
    with pytest.raises(DataError, match="too large"):
        arrived(column, column.item)


def test_drawn_ids_are_random_ones_of_version_4() -> None:
    ids = [UUID(int=number) for number in new_id_numbers(500)]
    assert len(set(ids)) == 500
    assert {(one.version, one.variant) for one in ids} == {(4, "specified in RFC 4122")}
    assert new_id_numbers(0) == []
