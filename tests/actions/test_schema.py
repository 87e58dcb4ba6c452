"""The migrations make what the models say."""

from __future__ import annotations

from alembic import command
from sqlalchemy import text

from tests.factories import NOW, TZ
from whago.domain.actions.partitions import MONTHS_AHEAD, make_partitions
from whago.kit import db
from whago.main.migrate import alembic_config, upgrade


def test_the_migrated_schema_is_the_one_of_the_models(database: str) -> None:
    with db.engine().connect() as connection:
        command.check(alembic_config(connection))  # raises when a migration is missing


def test_migrating_again_changes_nothing(database: str) -> None:
    upgrade(database)
    upgrade(database)


def test_the_ledgers_partitions_are_made_ahead_of_time_and_only_once(database: str) -> None:
    covered = make_partitions(now=NOW, tz=TZ)
    assert make_partitions(now=NOW, tz=TZ) == covered == MONTHS_AHEAD + 2
    with db.transaction() as tx:
        names = set(tx.scalars(text("SELECT inhrelid::regclass::text FROM pg_inherits")))
    assert {f"proxy_usage_logs_{month}" for month in ("2026_10", "2026_11", "2026_12", "2027_01", "2027_02")} <= names
