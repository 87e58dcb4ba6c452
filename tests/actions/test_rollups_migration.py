"""Migration 0005 on a database that has a past: prices of the past are kept, and the way back is open."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from alembic import command
from sqlalchemy import Connection, create_engine, pool, text

from whago.kit import db
from whago.kit.ids import new_id
from whago.main.migrate import alembic_config, upgrade

PAST = """
INSERT INTO proxy_usage_logs (month_year, boot_id, tunnel_id, hour, price_id, user_id, chip_id, proxy_id, provider_id,
    assignment_id, bytes_transferred, session_start, session_end, cost_per_gb, bytes_per_gb, cost)
SELECT '2026-10-01', gen_random_uuid(), n, '2026-10-05T12:00Z', 1 + n % 2, :a, :b, :c, :d, :e, 1000 * n,
       '2026-10-05T12:00Z', '2026-10-05T12:10Z', 20, 1000000000, 0.00002 * n
FROM generate_series(1, 4) n
"""


@pytest.fixture
def old_database(postgres_url: str) -> Iterator[str]:
    """A database of the version before, on the same server."""
    name = f"before_{new_id().hex[:8]}"
    server = create_engine(db.normalise(postgres_url), poolclass=pool.NullPool, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = server.url.set(database=name).render_as_string(hide_password=False)
    upgrade(url, "0004")
    yield url
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def connected(url: str) -> Connection:
    return create_engine(url, poolclass=pool.NullPool).connect()


def test_the_past_is_added_up_by_price(old_database: str) -> None:
    with connected(old_database) as connection:
        connection.execute(
            text(
                "CREATE TABLE proxy_usage_logs_2026_10 PARTITION OF proxy_usage_logs"
                " FOR VALUES FROM ('2026-10-01') TO ('2026-11-01')"
            )
        )
        connection.execute(text(PAST), {name: new_id() for name in "abcde"})
        connection.commit()
    upgrade(old_database)
    with connected(old_database) as connection:
        rows = connection.execute(
            text("SELECT price_id, total_bytes, total_cost FROM usage_price_months ORDER BY price_id")
        ).all()
    assert rows == [(1, 6000, Decimal("0.00012")), (2, 4000, Decimal("0.00008"))]


def test_the_version_before_can_go_on_beside_it(old_database: str) -> None:
    """What it writes does not name the new columns."""
    upgrade(old_database)
    with connected(old_database) as connection:
        connection.execute(
            text(
                "INSERT INTO usage_hours (chip_id, provider_id, hour, user_id, total_bytes, total_cost)"
                " VALUES (:a, :a, now(), :a, 1, 0)"
            ),
            {"a": new_id()},
        )
        connection.execute(text("INSERT INTO clock_runs (clock, started_at) VALUES ('heartbeat', now())"))
        connection.commit()


def test_it_can_be_taken_back_and_done_again(old_database: str) -> None:
    upgrade(old_database)
    with connected(old_database) as connection:
        command.downgrade(alembic_config(connection), "0004")
        connection.commit()
        tables = set(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
    assert not tables & {"usage_price_months", "report_runs", "ledger_archives", "clocks"}
    upgrade(old_database)
