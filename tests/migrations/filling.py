"""Rows of every table of the version before, in its own shapes: drawn from what the database says of its tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final
from uuid import UUID, uuid5

from sqlalchemy import ARRAY, Column, Connection, Date, DateTime, MetaData, String, Table, inspect, text
from sqlalchemy.dialects.postgresql import BYTEA, INET, JSONB
from sqlalchemy.dialects.postgresql import UUID as PgUuid

ROWS: Final = 3  # of each table
MOMENT: Final = datetime(2026, 10, 20, 12, tzinfo=UTC)
NAMES: Final = UUID("8f0cf6a4-0c5c-4f4e-9b1c-2c86f6b7f0aa")
KEPT_BY_USAGE: Final = {  # what a report of usage writes: ``Reporter`` fills these so that they add up
    *("proxy_usage_logs", "usage_hours", "chip_usage_months", "usage_price_months", "user_proxy_costs"),
    *("usage_days", "usage_day_marks", "usage_checkpoints", "proxy_usage_totals", "proxy_usage_months"),
}
SAME_IN_EVERY_ROW: Final[dict[tuple[str, str], Any]] = {
    ("plans", "is_default"): False,  # there is one already
    ("plans", "proxy_gb_limit"): None,
    ("proxies", "total_bytes_used"): 0,
    ("users", "deleted_at"): None,
    ("users", "role"): "user",
    ("chips", "deleted_at"): None,
    ("ledger_archives", "state"): "exported",
    ("quota_leases", "granted_bytes"): 0,
    ("quota_leases", "used_bytes"): 0,
}


def tables_of(connection: Connection) -> list[Table]:
    """Every table but partitions and alembic's own, parents first."""
    known = MetaData()
    known.reflect(connection, only=lambda name, _meta: not name.startswith(("proxy_usage_logs_", "alembic_")))
    return known.sorted_tables


def fill(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """``ROWS`` of every table that usage does not write; returns them by table."""
    made: dict[str, list[dict[str, Any]]] = {}
    inspector = inspect(connection)
    for table in tables_of(connection):
        if table.name not in KEPT_BY_USAGE:
            allowed = [str(check["sqltext"]) for check in inspector.get_check_constraints(table.name)]
            made[table.name] = [_row(connection, table, number, allowed, made) for number in range(ROWS)]
    return made


def _row(
    connection: Connection, table: Table, number: int, checks: list[str], made: Mapping[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    values = {
        column.name: _value(table, column, number, checks, made)
        for column in table.columns
        if column.identity is None and column.computed is None
    }
    connection.execute(table.insert().values(**values))
    key = [name for name in (column.name for column in table.primary_key) if name not in values]
    for name in key:  # drawn by the database
        values[name] = connection.scalar(text(f"SELECT max({name}) FROM {table.name}"))
    return values


def _value(
    table: Table, column: Column[Any], number: int, checks: list[str], made: Mapping[str, list[dict[str, Any]]]
) -> Any:
    if (table.name, column.name) in SAME_IN_EVERY_ROW:
        return SAME_IN_EVERY_ROW[table.name, column.name]
    for key in column.foreign_keys:
        if key.column.table.name == table.name:
            return None
        return made[key.column.table.name][number][key.column.name]
    for check in checks:  # one of the words that it allows
        if re.search(rf"\(?\b{column.name}\b\)?(::text)? = ANY", check):
            words = re.findall(r"'([^']+)'", check)
            return words[number % len(words)]
    return _of_type(table, column, number)


def _of_type(table: Table, column: Column[Any], number: int) -> Any:
    kind = column.type
    if isinstance(kind, PgUuid):
        return uuid5(NAMES, f"{table.name}.{column.name}.{number}")
    if isinstance(kind, ARRAY):
        return ["read"] if isinstance(kind.item_type, String) else [50]
    if isinstance(kind, BYTEA):
        return bytes([number]) * 32
    if isinstance(kind, JSONB):
        return {"number": number}
    if isinstance(kind, INET):
        return f"10.0.0.{number}"
    if isinstance(kind, DateTime):
        return MOMENT
    if isinstance(kind, Date):
        return date(2026, 8, 1 + number)
    if isinstance(kind, String):
        return f"{number}{column.name}"[: kind.length or 40]
    return kind.python_type(number + 5) if kind.python_type is not bool else False


class Reporter:
    """Usage in the shapes of the version before: one tunnel of each chip, whose counters only grow."""

    def __init__(self, made: Mapping[str, list[dict[str, Any]]]) -> None:
        self.chips = [
            {"chip": chip["id"], "user": chip["user_id"], "proxy": held["proxy_id"], "provider": held["provider_id"],
             "assignment": held["id"], "boot": made["gateway_boots"][0]["id"], "price": price["id"]}
            for chip, held, price in zip(
                made["chips"], made["chip_proxy_assignments"], made["proxy_provider_prices"], strict=True
            )
        ]  # fmt: skip

    def report(self, connection: Connection, tunnel: int, month: date, hour: datetime) -> None:
        """One report of every chip: 1,000 bytes in the ledger and everywhere above it. Not committed."""
        for chip in sorted(self.chips, key=lambda one: str(one["user"])):
            for statement in _REPORT:
                connection.execute(text(statement), chip | {"tunnel": tunnel, "month": month, "hour": hour})


_SUMS: Final = "total_bytes = old.total_bytes + 1000, total_cost = old.total_cost + 0.00002"
_REPORT: Final = (
    f"""INSERT INTO user_proxy_costs AS old (user_id, month_year, total_bytes, total_cost, last_updated)
        VALUES (:user, :month, 1000, 0.00002, now()) ON CONFLICT (user_id, month_year) DO UPDATE SET {_SUMS}""",
    """INSERT INTO proxy_usage_logs (month_year, boot_id, tunnel_id, hour, price_id, user_id, chip_id, proxy_id,
           provider_id, assignment_id, bytes_up, bytes_transferred, session_start, session_end, cost_per_gb,
           bytes_per_gb, cost)
       VALUES (:month, :boot, :tunnel, :hour, :price, :user, :chip, :proxy, :provider, :assignment, 1000, 1000, :hour,
               :hour, 20, 1000000000, 0.00002)""",
    f"""INSERT INTO usage_hours AS old (chip_id, provider_id, hour, user_id, total_bytes, total_cost, changed_at)
        VALUES (:chip, :provider, :hour, :user, 1000, 0.00002, now())
        ON CONFLICT (chip_id, provider_id, hour) DO UPDATE SET {_SUMS}""",
    f"""INSERT INTO chip_usage_months AS old (chip_id, month_year, user_id, total_bytes, total_cost, changed_at)
        VALUES (:chip, :month, :user, 1000, 0.00002, now()) ON CONFLICT (chip_id, month_year) DO UPDATE SET {_SUMS}""",
    f"""INSERT INTO usage_price_months AS old (month_year, chip_id, proxy_id, price_id, provider_id, user_id,
           total_bytes, total_cost) VALUES (:month, :chip, :proxy, :price, :provider, :user, 1000, 0.00002)
        ON CONFLICT (month_year, chip_id, proxy_id, price_id) DO UPDATE SET {_SUMS}""",
    "UPDATE proxies SET total_bytes_used = total_bytes_used + 1000 WHERE id = :proxy",
)
