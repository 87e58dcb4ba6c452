"""What the database server says of itself to whoever looks after the installation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from sqlalchemy import text

from whago.kit.db import transaction


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """``version_num`` as PostgreSQL counts (150004 is 15.4). ``tls``: of this connection, or None.

    ``revision``: the last migration, None without a schema. ``connections`` of everybody, the server's limit beside it.
    """

    version_num: int
    version: str
    tls: str | None
    is_local: bool
    connections: int
    max_connections: int
    size_bytes: int
    revision: str | None


_FACTS: Final = text(
    "SELECT current_setting('server_version_num')::int, current_setting('server_version'),"
    " (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl),"
    " coalesce(inet_client_addr() <<= inet '127.0.0.0/8' OR inet_client_addr() = inet '::1', true),"
    " (SELECT count(*) FROM pg_stat_activity), current_setting('max_connections')::int,"
    " pg_database_size(current_database()), to_regclass('alembic_version') IS NOT NULL"
)


def server_facts() -> ServerFacts:
    """Also of a database that is not migrated. Raises WhagoError("unavailable")."""
    with transaction() as db:
        version_num, version, tls, is_local, connections, most, size, has_schema = db.execute(_FACTS).one()
        revision = db.scalar(text("SELECT version_num FROM alembic_version")) if has_schema else None
    return ServerFacts(
        version_num, str(version).split(" ", maxsplit=1)[0], tls, is_local, connections, most, size, revision
    )


def server_clock() -> datetime:
    """The database's own time, at the moment in which it answers."""
    with transaction() as db:
        found: datetime = db.execute(text("SELECT clock_timestamp()")).scalar_one()
    return found


def missing_partitions(months: Sequence[date]) -> list[date]:
    """Those of ``months`` for which the ledger has no partition."""
    with transaction() as db:
        return [
            month
            for month in months
            if db.scalar(text("SELECT to_regclass(:name)"), {"name": f"proxy_usage_logs_{month:%Y_%m}"}) is None
        ]
