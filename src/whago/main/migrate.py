"""``whago migrate``: brings the database to this version's schema, beside the version that still runs on it.

A migration that cannot have a table at once gives up, lets everybody who waited behind it go on, and tries again: what
runs never waits longer than ``LOCK_TIMEOUT_MS`` for it. Two at once wait for each other. ``main/online.py`` has the
statements that large tables need.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, pool, text
from sqlalchemy.exc import OperationalError

from whago.domain.actions.partitions import make_partitions
from whago.errors import SettingsError
from whago.kit import clock, db, log
from whago.main.leash import TryLater
from whago.main.servers import wait_for_database
from whago.settings import Settings, load

logger = structlog.get_logger()

ROOT = Path(__file__).resolve().parents[3]
MINIMUM_SERVER = 150000  # PostgreSQL 15: MERGE and NULLS NOT DISTINCT are relied on nowhere older
LOCK_KEY = 0x77686167  # "whag": advisory lock held while migrating
LOCK_TIMEOUT_MS: Final = 2_000  # a fifth of what a writer has patience for (kit.db), so that one wait fails no report
PAUSE_S: Final = 1.0  # between attempts: those who waited behind the last one pass
PATIENCE_S: Final = 600.0  # a backup or a long report ends within it; else a person has to look who holds the table
POLL_S: Final = 0.2  # for the turn of this migration
SAY_EVERY_S: Final = 10.0  # that it still waits
NO_LOCK: Final = {"55P03", "40P01"}  # the lock took too long; or two waited in a circle and this one had to give way


def upgrade(
    database_url: str,
    revision: str = "head",
    *,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
    patience_s: float = PATIENCE_S,
) -> None:
    """Migrates to ``revision``; what was done before an interruption stays done.

    Raises SettingsError when the server is too old, TryLater when somebody holds a table longer than ``patience_s``.
    """
    engine = create_engine(db.normalise(database_url), poolclass=pool.NullPool, connect_args=db.REACHING)
    with engine.connect() as connection:
        version = int(connection.scalar(text("SHOW server_version_num")) or 0)
        if version < MINIMUM_SERVER:
            raise SettingsError(
                f"WHAGO_DATABASE_URL: the server is PostgreSQL {version // 10000}; 15 or newer is needed."
            )
        _take_turn(connection, patience_s)
        _migrate(connection, revision, lock_timeout_ms, patience_s)
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
        connection.commit()
    engine.dispose()


def _take_turn(connection: Connection, patience_s: float) -> None:
    """Asks again and again rather than waiting inside the server: a transaction that waits would hold up the other's
    concurrent index, which waits for every transaction that is older."""
    deadline, told = time.monotonic() + patience_s, float("-inf")
    while True:
        is_ours = connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY})
        connection.commit()
        if is_ours:
            return
        if time.monotonic() >= deadline:
            raise TryLater("Another whago migrate is still running on this database: look at it, or wait for its end.")
        if time.monotonic() - told >= SAY_EVERY_S:
            logger.info("migrate.waits", reason="another whago migrate is running")
            told = time.monotonic()
        time.sleep(POLL_S)


def _migrate(connection: Connection, revision: str, lock_timeout_ms: int, patience_s: float) -> None:
    """Each migration is a transaction of its own, so an attempt goes on where the one before gave up."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            command.upgrade(alembic_config(connection, lock_timeout_ms), revision)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in NO_LOCK:
                raise
            connection.rollback()
            if time.monotonic() >= deadline:
                raise TryLater(
                    "A migration cannot have its table: somebody holds it. Nothing was left half done;"
                    " see pg_stat_activity for a long transaction (a backup, a report), and run whago migrate again."
                ) from None
            logger.warning("migrate.waits", reason="a table is in use", retry_in_s=PAUSE_S)
            time.sleep(PAUSE_S)
        else:
            return


def run() -> None:
    """The command: migrates the database of the settings and makes the ledger's next partitions."""
    settings = load()
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: it names the PostgreSQL database to migrate.")
    log.configure(settings.log_format, "migrate")
    wait_for_database(settings.database_url, settings.start_wait_s)
    prepare(settings, settings.database_url)


def prepare(settings: Settings, database_url: str) -> None:
    """Schema and partitions: what every other part expects to find."""
    upgrade(database_url)
    db.connect(database_url)
    make_partitions(now=clock.now(), tz=settings.tz)
    db.engine().dispose()


def alembic_config(connection: Any, lock_timeout_ms: int = LOCK_TIMEOUT_MS) -> Config:
    """Alembic on our migrations and the given connection."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    config.attributes["lock_timeout_ms"] = lock_timeout_ms
    return config
