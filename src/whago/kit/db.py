"""The database: one engine per process, transactions, and signals between processes.

Transactions live in domain actions: ``with transaction() as db:``; returned means committed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from whago.errors import WhagoError
from whago.kit import packed

CHANNEL = "whago"  # LISTEN / NOTIFY channel that gateways follow
POOL_SIZE = 10  # per process; five processes stay far below the embedded server's limit
POOL_OVERFLOW = 20
POOL_PATIENCE_S = 30  # for a connection of the pool, as long as a statement may take: then the caller is told so
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000  # a runaway query must not hold a worker for ever
IDLE_IN_TRANSACTION_MS = 300_000  # who hangs inside a transaction loses its locks; a slow download goes on
LOCK_TIMEOUT_MS = 10_000  # a caller gets an answer rather than a hang
RETRYABLE = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, a lock that took too long
GOING = {"57P01", "57P02", "57P03"}  # shutting down by an administrator, crashing, starting
FULL = "53"  # class: out of disk space, memory or connections; it passes when somebody makes room

REACHING = {  # a server that vanished without a word is noticed in about ten seconds
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

_sessions: sessionmaker[Session] | None = None
_engine: Engine | None = None


def connect(
    url: str,
    *,
    pool_size: int = POOL_SIZE,
    most: int | None = None,
    statement_timeout_ms: int = STATEMENT_TIMEOUT_MS,
    lock_timeout_ms: int = LOCK_TIMEOUT_MS,
) -> Engine:
    """Binds this process to a database. ``url`` is ``postgresql+psycopg://…`` (``postgresql://`` is understood).

    ``pool_size`` connections are kept; ``most`` bounds those at a busy moment (None: ``POOL_OVERFLOW`` more).
    """
    global _sessions, _engine
    packed.register(psycopg.adapters)
    kept = min(pool_size, most or pool_size)
    limits = {
        "timezone": "UTC",
        "statement_timeout": statement_timeout_ms,
        "lock_timeout": lock_timeout_ms,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    }
    _engine = create_engine(
        normalise(url),
        pool_size=kept,
        max_overflow=POOL_OVERFLOW if most is None else most - kept,
        pool_timeout=POOL_PATIENCE_S,
        pool_pre_ping=True,
        pool_use_lifo=True,  # the same few connections are used: their caches are warm and statements prepared
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            **REACHING,
        },
    )
    _sessions = sessionmaker(_engine, expire_on_commit=False)
    return _engine


def normalise(url: str) -> str:
    """The same URL with the driver that we use."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def driver_url(url: str) -> str:
    """The same URL for psycopg itself."""
    return normalise(url).replace("postgresql+psycopg://", "postgresql://", 1)


def engine() -> Engine:
    """The engine of this process. Raises RuntimeError before ``connect``."""
    if _engine is None:
        raise RuntimeError("kit.db.connect() was not called in this process")
    return _engine


class OutcomeUnknown(WhagoError):
    """The connection broke while a commit was on its way: it may have been committed or not."""

    def __init__(self) -> None:
        super().__init__("unavailable", part="database")


@contextmanager
def transaction() -> Iterator[Session]:
    """One transaction: committed when the block returns, rolled back when it raises.

    Raises WhagoError("unavailable") when the database cannot be reached (nothing was committed), OutcomeUnknown when
    that happened during the commit itself, WhagoError("conflict") on a lost race.
    """
    if _sessions is None:
        raise RuntimeError("kit.db.connect() was not called in this process")
    committing = False
    try:
        with _sessions() as db:
            yield db
            db.flush()
            committing = True
            db.commit()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in RETRYABLE:
            raise WhagoError("conflict") from error
        if _is_gone(error):
            raise (OutcomeUnknown() if committing else WhagoError("unavailable", part="database")) from error
        raise
    except PoolTimeoutError as error:
        raise WhagoError("unavailable", part="database") from error


def _is_gone(error: DBAPIError) -> bool:
    """Whether the server could not be reached, is starting or shutting down (class 57P), or has no room (class 53)."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        return error.connection_invalidated or isinstance(error, OperationalError)
    return error.connection_invalidated or state in GOING or state.startswith(FULL)


@contextmanager
def reading() -> Iterator[Session]:
    """A read-only transaction with one snapshot, for queries."""
    with transaction() as db:
        db.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        yield db


def signal(db: Session, kind: str, ident: UUID | None = None, *, answer_to: UUID | None = None) -> None:
    """Tells every gateway, when this transaction commits, that what it cached about ``ident`` is no longer true.

    ``answer_to``: the token of an ``Answers`` that waits for the gateways.
    """
    told = {"kind": kind, "id": str(ident) if ident else None, "answer_to": str(answer_to) if answer_to else None}
    payload = json.dumps(told)
    db.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload})


def locked(db: Session, key: str) -> None:
    """Holds a named lock until the transaction ends."""
    db.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})
