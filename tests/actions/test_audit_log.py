"""The audit log only grows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import ProgrammingError

from tests.factories import NOW, make_user
from whago.domain.models import AuditEntry
from whago.domain.models.auditing import audit
from whago.kit import db

MAINTENANCE = "SET LOCAL whago.audit_maintenance = 'on'"
CHANGES: dict[str, Callable[[], object]] = {
    "update": lambda: update(AuditEntry).values(action="nothing.happened"),
    "delete": lambda: delete(AuditEntry),
    "delete of one": lambda: delete(AuditEntry).where(AuditEntry.id == -1),
    "truncate": lambda: text("TRUNCATE audit_log"),
    "truncate of what it refers to": lambda: text("TRUNCATE users CASCADE"),
}


@pytest.fixture
def entry(database: str) -> str:
    actor = make_user()
    with db.transaction() as tx:
        audit(tx, actor.id, "plan.update", "plan", "x", NOW)
    return database


@contextmanager
def refused() -> Iterator[None]:
    with pytest.raises(ProgrammingError, match="the audit log only grows"):
        yield


def entries() -> list[str]:
    with db.transaction() as tx:
        return list(tx.scalars(select(AuditEntry.action)))


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_takes_an_entry_back(entry: str, change: str) -> None:
    with refused(), db.transaction() as tx:
        tx.execute(CHANGES[change]())  # type: ignore[call-overload]
    assert entries() == ["plan.update"]


def test_entries_are_still_added(entry: str) -> None:
    with db.transaction() as tx:
        audit(tx, None, "keys.rotate", "secret_key", "current", NOW)
    assert entries() == ["plan.update", "keys.rotate"]


def test_the_owner_can_after_saying_so_for_one_transaction(entry: str) -> None:
    with db.transaction() as tx:
        tx.execute(text(MAINTENANCE))
        tx.execute(delete(AuditEntry))
    assert entries() == []
    with db.transaction() as tx:
        audit(tx, None, "plan.update", "plan", "x", NOW)
    with refused(), db.transaction() as tx:
        tx.execute(delete(AuditEntry))


def test_a_role_that_owns_nothing_cannot_even_by_saying_so(entry: str) -> None:
    """As where migrations run as the owner, and the processes as a role that may only read and write rows."""
    with db.engine().connect() as connection:
        if not connection.scalar(text("SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("this server's role may not make roles")
        try:
            for statement in (
                "CREATE ROLE whago_writer", "GRANT SELECT, INSERT, UPDATE, DELETE ON audit_log TO whago_writer",
                "SET LOCAL SESSION AUTHORIZATION whago_writer", MAINTENANCE,
            ):  # fmt: skip
                connection.execute(text(statement))
            assert connection.scalar(select(func.count()).select_from(AuditEntry)) == 1
            with refused():
                connection.execute(delete(AuditEntry))
        finally:
            connection.rollback()  # the role was never made
