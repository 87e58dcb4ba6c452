"""Databases of earlier versions, on the server of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, create_engine, make_url, pool, text

from whago.kit import db
from whago.kit.ids import new_id
from whago.main.migrate import upgrade

Server = Callable[[str], None]


@contextmanager
def connected(url: str, **options: str) -> Iterator[Connection]:
    engine = create_engine(db.normalise(url), poolclass=pool.NullPool, **options)
    with engine.connect() as connection:
        yield connection


@contextmanager
def database_of(server_url: str, template: str | None = None) -> Iterator[str]:
    """A new database, empty or a copy of ``template``; yields its URL."""
    name = f"before_{new_id().hex[:8]}"
    with connected(server_url, isolation_level="AUTOCOMMIT") as server:
        server.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
        try:
            yield make_url(db.normalise(server_url)).set(database=name).render_as_string(hide_password=False)
        finally:
            server.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def published(postgres_url: str) -> Iterator[str]:
    """A database at the last published revision."""
    with database_of(postgres_url) as url:
        upgrade(url, "0007")
        yield url


@pytest.fixture
def before(postgres_url: str, published: str) -> Iterator[str]:
    """A copy of it, for one test."""
    with database_of(postgres_url, make_url(published).database) as url:
        yield url
