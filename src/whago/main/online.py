"""What migrations do to large tables while others write to them. For use inside a migration.

An index is made CONCURRENTLY: nobody waits for it, but it takes no part in the migration's transaction. So it comes
last in a migration, and one that was cut off leaves an invalid index behind, which the next attempt removes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import op
from sqlalchemy import text


def create_index(name: str, table: str, columns: Sequence[Any], **options: Any) -> None:
    """An index on a table that others write to. ``options`` are those of ``op.create_index``."""
    with _outside_transactions():
        _drop_invalid(name)
        op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options)


def drop_index(name: str, table: str) -> None:
    """Takes an index away without keeping anybody from the table."""
    with _outside_transactions():
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _outside_transactions() -> Iterator[None]:
    """A concurrent statement waits for all transactions that are older; nobody waits behind it meanwhile."""
    with op.get_context().autocommit_block():
        before = op.get_bind().scalar(text("SELECT current_setting('lock_timeout')"))
        op.execute("SET lock_timeout = 0")
        yield
        op.execute(f"SET lock_timeout = '{before}'")


def _drop_invalid(name: str) -> None:
    is_invalid = "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)"
    if op.get_bind().scalar(text(is_invalid), {"name": name}):
        op.execute(f'DROP INDEX CONCURRENTLY "{name}"')
