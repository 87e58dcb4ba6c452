"""A migration gives way to whoever uses its table, and two of them take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, text

from tests.migrations.conftest import connected, database_of
from whago.main import migrate, online
from whago.main.leash import TryLater
from whago.main.migrate import LOCK_KEY, upgrade

WAIT_S = 60  # for a thread to come to an end on a busy machine
HELD = "refresh_tokens"  # 0008 adds columns to it
REVISION = text("SELECT version_num FROM alembic_version")


@contextmanager
def upgrading(url: str, revision: str) -> Iterator[threading.Thread]:
    """``upgrade`` in a thread, which may wait; what it raises makes the test fail."""
    trouble: list[BaseException] = []

    def run() -> None:
        try:
            upgrade(url, revision, lock_timeout_ms=50)
        except Exception as error:  # noqa: BLE001 - raised again in the test
            trouble.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(WAIT_S)
    assert not thread.is_alive()
    if trouble:
        raise trouble[0]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set when the migration says that it waits; it then tries again at once."""
    told = threading.Event()

    def say(event: str, **_fields: object) -> None:
        assert event == "migrate.waits"
        told.set()

    monkeypatch.setattr(migrate.logger, "warning", say, raising=False)
    monkeypatch.setattr(migrate.logger, "info", say, raising=False)
    monkeypatch.setattr(migrate, "PAUSE_S", 0.01)
    monkeypatch.setattr(migrate, "POLL_S", 0.01)
    return told


def test_it_lets_others_pass_and_tries_again(before: str, waits: threading.Event) -> None:
    with connected(before) as holder:
        holder.execute(text(f"SELECT count(*) FROM {HELD}"))  # a long report, a backup
        with upgrading(before, "0008"):
            assert waits.wait(WAIT_S)
            with connected(before) as other:
                assert other.scalar(text(f"SELECT count(*) FROM {HELD}")) == 0
                assert other.scalar(REVISION) == "0007"
            holder.rollback()
    with connected(before) as connection:
        assert connection.scalar(REVISION) == "0008"


def test_it_says_what_stands_in_the_way_when_nobody_gives_way(before: str, waits: threading.Event) -> None:
    with connected(before) as holder:
        holder.execute(text(f"SELECT count(*) FROM {HELD}"))
        with pytest.raises(TryLater, match="somebody holds it"):
            upgrade(before, "0008", lock_timeout_ms=10, patience_s=0)
    with connected(before) as connection:
        assert connection.scalar(REVISION) == "0007"


def test_two_take_turns(before: str, waits: threading.Event) -> None:
    with connected(before) as first:
        first.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        first.commit()
        with upgrading(before, "0008"):
            assert waits.wait(WAIT_S)
            assert first.scalar(REVISION) == "0007"
            first.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
            first.commit()
        assert first.scalar(REVISION) == "0008"


def test_the_second_of_two_gives_up_at_last(before: str, waits: threading.Event) -> None:
    with connected(before) as first:
        first.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
        with pytest.raises(TryLater, match="Another whago migrate"):
            upgrade(before, "0008", patience_s=0)


@pytest.fixture
def table(postgres_url: str) -> Iterator[str]:
    """A database with one table that others write to."""
    with database_of(postgres_url) as url:
        with connected(url) as connection:
            connection.execute(text("CREATE TABLE zeal (id int)"))
            connection.commit()
        yield url


def migrating(connection: Connection, work: Callable[[], None]) -> None:
    """``work`` as a migration does it."""
    connection.execute(text("SET lock_timeout = 50"))
    connection.commit()
    context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
    with Operations.context(context), context.begin_transaction(_per_migration=True):
        work()


def indexes(connection: Connection) -> list[tuple[str, bool]]:
    query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = 'zeal'::regclass"
    return [(name, valid) for name, valid in connection.execute(text(query))]


def test_an_index_is_made_and_taken_away_beside_a_writer(table: str) -> None:
    with connected(table) as writer, connected(table) as connection:
        writer.execute(text("SET lock_timeout = 1"))
        writer.commit()

        def work() -> None:
            online.create_index("ix_zeal_id", "zeal", ["id"])
            writer.execute(text("INSERT INTO zeal VALUES (1)"))
            writer.commit()

        migrating(connection, work)
        assert indexes(connection) == [("ix_zeal_id", True)]
        assert connection.scalar(text("SHOW lock_timeout")) == "50ms"
        connection.commit()
        migrating(connection, lambda: online.drop_index("ix_zeal_id", "zeal"))
        assert indexes(connection) == []


def test_an_index_that_was_cut_off_is_made_again(table: str) -> None:
    with connected(table) as connection, connected(table, isolation_level="AUTOCOMMIT") as first:
        first.execute(text("INSERT INTO zeal VALUES (1), (1)"))
        with pytest.raises(Exception, match="could not create unique index"):
            first.execute(text("CREATE UNIQUE INDEX CONCURRENTLY ix_zeal_id ON zeal (id)"))
        assert indexes(connection) == [("ix_zeal_id", False)]
        connection.commit()
        migrating(connection, lambda: online.create_index("ix_zeal_id", "zeal", ["id"]))
        assert indexes(connection) == [("ix_zeal_id", True)]
