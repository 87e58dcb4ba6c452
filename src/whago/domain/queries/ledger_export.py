"""A month of the ledger as CSV, as the database writes it (PostgreSQL manual, COPY)."""

from __future__ import annotations

from collections.abc import Generator
from datetime import date
from typing import Final

from psycopg import Connection, sql
from sqlalchemy import text

from whago.kit.db import reading

COLUMNS: Final = (
    "id",
    "month_year",
    "hour",
    "user_id",
    "chip_id",
    "proxy_id",
    "provider_id",
    "assignment_id",
    "boot_id",
    "tunnel_id",
    "session_start",
    "session_end",
    "bytes_up",
    "bytes_down",
    "overhead",
    "bytes_transferred",
    "price_id",
    "cost_per_gb",
    "bytes_per_gb",
    "cost",
    "is_demo",
)
_COPY: Final = sql.SQL(
    "COPY (SELECT {columns} FROM proxy_usage_logs WHERE month_year = {month}) TO STDOUT (FORMAT csv, HEADER)"
)


def ledger_csv(month: date) -> Generator[bytes, None, None]:
    """Pieces of the file, from one snapshot. The first line names the columns; times are in UTC."""
    with reading() as db:
        db.execute(text("SET LOCAL statement_timeout = 0"))  # bounded by whoever reads: a large month takes minutes
        connection = db.connection().connection.driver_connection
        assert isinstance(connection, Connection)
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        with connection.cursor() as cursor, cursor.copy(_COPY.format(columns=columns, month=month)) as copy:
            for piece in copy:
                yield bytes(piece)
