"""``whago migrate``: brings the database to this version's schema. Two at once wait for each other."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, pool, text

from whago.domain.actions.partitions import make_partitions
from whago.errors import SettingsError
from whago.kit import clock, db
from whago.settings import Settings, load

ROOT = Path(__file__).resolve().parents[3]
MINIMUM_SERVER = 150000  # PostgreSQL 15: MERGE and NULLS NOT DISTINCT are relied on nowhere older
LOCK_KEY = 0x77686167  # "whag": advisory lock held while migrating


def upgrade(database_url: str, revision: str = "head") -> None:
    """Migrates to ``revision``. Raises SettingsError when the server is too old."""
    engine = create_engine(db.normalise(database_url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        version = int(connection.scalar(text("SHOW server_version_num")) or 0)
        if version < MINIMUM_SERVER:
            raise SettingsError(
                f"WHAGO_DATABASE_URL: the server is PostgreSQL {version // 10000}; 15 or newer is needed."
            )
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        connection.commit()
        command.upgrade(alembic_config(connection), revision)
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
        connection.commit()
    engine.dispose()


def run() -> None:
    """The command: migrates the database of the settings and makes the ledger's next partitions."""
    settings = load()
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: it names the PostgreSQL database to migrate.")
    prepare(settings, settings.database_url)


def prepare(settings: Settings, database_url: str) -> None:
    """Schema and partitions: what every other part expects to find."""
    upgrade(database_url)
    db.connect(database_url)
    make_partitions(now=clock.now(), tz=settings.tz)
    db.engine().dispose()


def alembic_config(connection: object) -> Config:
    """Alembic on our migrations and the given connection."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    return config
