"""Shared parts of the tests: one real PostgreSQL for the whole run, emptied before every test that uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from whago.domain.models import Base
from whago.domain.models.usage import forget_partitions
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.main.embedded import EmbeddedPostgres, EmbeddedValkey, private_data_dir
from whago.main.migrate import upgrade

# How long an example takes is the machine's affair, not the code's.
settings.register_profile("whago", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whago")

EMPTYINGS = 5  # of a database that somebody else writes to
LAST = ("tests/e2e/",)  # the browser's driver keeps an event loop in this thread, so whatever needs its own goes first

_TABLES = Base.metadata.sorted_tables[::-1]  # whoever refers to a table goes before it
_USED = " UNION ALL ".join(f"SELECT '{table.name}' WHERE EXISTS (SELECT FROM {table.name})" for table in _TABLES)
_RESTART = (  # deleting what is there takes a tenth of the time that truncating every table does
    "SELECT setval(CAST(format('%I', sequencename) AS regclass), 1, false) FROM pg_sequences"
    " WHERE schemaname = 'public' AND last_value IS NOT NULL"
)

SECRET = "test-secret-key-with-more-than-32-characters"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--postgres-url", help="an empty database of your own server, instead of an embedded PostgreSQL")
    parser.addoption("--broker-url", help="your own Redis or Valkey, instead of an embedded one")
    parser.addoption("--crowd", type=int, default=300, help="how many tunnels at once in the overload test")
    parser.addoption("--kills", type=int, default=30, help="how many gateways are killed under load")
    parser.addoption("--herd", type=int, default=40, help="how many chips come back at once in the herd test")


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database: on an embedded PostgreSQL without fsync, unless ``--postgres-url`` names another."""
    if own := request.config.getoption("--postgres-url"):
        upgrade(own)
        yield own
        return
    folder = private_data_dir()
    with EmbeddedPostgres(folder, durable=False) as server:
        upgrade(server.url)
        yield server.url
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An embedded Valkey, unless ``--broker-url`` names another server."""
    if own := request.config.getoption("--broker-url"):
        yield own
        return
    folder = private_data_dir()
    with EmbeddedValkey(folder) as server:
        yield server.url
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _engine(postgres_url: str) -> Iterator[None]:
    engine = db.connect(postgres_url)
    yield
    engine.dispose()


@pytest.fixture
def database(_engine: None, postgres_url: str) -> str:
    """The database, holding the three first plans and nothing else. Returns its URL."""
    empty_database(postgres_url)
    return postgres_url


def empty_database(postgres_url: str) -> None:
    """For whoever shares one world among many tests; everybody else asks for ``database``."""
    if db.engine().url.render_as_string(hide_password=False) != postgres_url:
        db.connect(postgres_url)
    for attempt in range(1, EMPTYINGS + 1):
        try:
            _empty()
            break
        except IntegrityError:  # a row came behind the one it refers to
            if attempt == EMPTYINGS:
                raise
        except WhagoError as error:
            if error.code != "conflict" or attempt == EMPTYINGS:
                raise


def _empty() -> None:
    """May meet a process that a module shares and that is just writing: one of the two is then told of a deadlock."""
    with db.transaction() as tx:
        tx.execute(text("SET LOCAL whago.audit_maintenance = 'on'"))  # else the audit log refuses
        used = set(tx.scalars(text(_USED)))
        for table in _TABLES:
            if table.name in used:
                tx.execute(table.delete())
        tx.execute(text(_RESTART))
        forget_partitions()  # a test may have dropped some
        tx.execute(
            text(
                "INSERT INTO plans"
                " (id, name, slug, price, max_chips, proxy_gb_limit, is_default, created_at, updated_at)"
                " VALUES (gen_random_uuid(), 'Free', 'free', 0, 1, 0.1, true, now(), now()),"
                " (gen_random_uuid(), 'Business', 'business', 97, 3, 1, false, now(), now()),"
                " (gen_random_uuid(), 'Enterprise', 'enterprise', 297, 10, 5, false, now(), now())"
            )
        )


@pytest.fixture
def vault() -> Vault:
    return Vault([SECRET])


@pytest.fixture
def tz() -> ZoneInfo:
    return ZoneInfo("America/Sao_Paulo")


@pytest.fixture
def noon() -> datetime:
    """A quiet moment in the middle of a month."""
    return datetime(2026, 11, 15, 15, 0, tzinfo=UTC)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last, the others as they are found."""
    items.sort(key=lambda item: item.nodeid.startswith(LAST))
