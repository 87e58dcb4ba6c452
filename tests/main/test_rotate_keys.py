"""``whago rotate-keys`` as an operator runs it, killed in the middle, and refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from tests.conftest import SECRET
from tests.factories import NOW, make_provider
from whago.domain.models import AuditEntry, Provider, Proxy
from whago.domain.queries.sealing import BATCH_ROWS
from whago.errors import SettingsError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.kit.db import transaction
from whago.kit.ids import new_id
from whago.main.rotate_keys import run, running_database

NEWER = "another-secret-key-with-more-than-32-characters"
OLD, NEW = Vault([SECRET]), Vault([NEWER])
MARK = "marked-password-of-the-vendor"
PATIENCE_S = 120.0
BATCHES = 3


@dataclass
class Command:
    """The command in this process: only the one that is killed needs another."""

    monkeypatch: pytest.MonkeyPatch
    capfd: pytest.CaptureFixture[str]

    def run(self, *, check: bool = False, data: Path | None = None, **settings: str) -> tuple[int, str]:
        with self.monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("WHAGO_")]:
                patch.delenv(name)
            for name, value in settings.items():
                patch.setenv(f"WHAGO_{name}", value)
            code = run(check=check, data=data)
        told = self.capfd.readouterr().out
        assert MARK not in told
        return code, told


@pytest.fixture
def command(database: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    yield Command(monkeypatch, capfd)
    db.connect(database)  # as the other tests know it


def make_sealed_proxies(provider: Provider, count: int) -> list[UUID]:
    sealed = OLD.seal({"username": "u", "password": MARK})
    with transaction() as tx:
        made = [
            Proxy(
                id=new_id(), provider_id=provider.id, proxy_type="static", proxy_url=f"http://127.0.0.1:{1 + number}",
                max_chips=1, credentials=sealed, created_at=NOW, updated_at=NOW,
            )
            for number in range(count)
        ]  # fmt: skip
        tx.add_all(made)
    return sorted(one.id for one in made)


def opened_by_new() -> int:
    both = Vault([NEWER, SECRET])
    with transaction() as tx:
        return sum(both.is_current(stored) for stored in tx.scalars(select(Proxy.credentials)))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_in_the_middle_and_run_again_it_finishes_what_was_left(database: str, command: Command) -> None:
    """A row that is held keeps the first command from ending, wherever it is when it is killed."""
    proxies = make_sealed_proxies(make_provider(OLD), BATCHES * BATCH_ROWS)
    both = {"DATABASE_URL": database, "SECRET_KEY": NEWER, "SECRET_KEY_PREVIOUS": SECRET}
    plain = {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}
    with transaction() as tx:
        tx.scalars(select(Proxy).where(Proxy.id == proxies[-1]).with_for_update()).one()
        first = subprocess.Popen(
            [sys.executable, "-P", "-m", "whago", "rotate-keys"],
            env=plain | {f"WHAGO_{name}": value for name, value in both.items()},
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_for(lambda: opened_by_new() >= BATCH_ROWS, first)
        finally:
            first.send_signal(signal.SIGKILL)
            first.wait()
    assert command.run(check=True, **both)[0] == 1
    assert opened_by_new() < len(proxies)
    code, told = command.run(**both)
    assert code == 0, told
    assert "Nothing is left under an earlier secret" in told
    with transaction() as tx:
        stored = [*tx.scalars(select(Provider.credentials)), *tx.scalars(select(Proxy.credentials))]
        noted = tx.scalars(select(AuditEntry.data).where(AuditEntry.action == "keys.rotate")).all()
    assert all(NEW.open(one)["password"] for one in stored)
    assert noted[-1]["resealed"]["proxy credentials"] > 0
    assert command.run(check=True, DATABASE_URL=database, SECRET_KEY=NEWER)[0] == 0


def test_what_cannot_be_opened_is_named_and_the_rest_is_done(database: str, command: Command) -> None:
    lost = make_provider(Vault(["somebody else's secret of long ago"]), name="lost", credentials={"password": MARK})
    make_provider(OLD)
    code, told = command.run(DATABASE_URL=database, SECRET_KEY=NEWER, SECRET_KEY_PREVIOUS=SECRET)
    assert code == 1
    assert f"proxy_providers {lost.id}" in told
    assert "provider credentials: 2, 1 sealed again, 0 under an earlier secret, 1 CANNOT BE OPENED" in told
    assert "Drop no secret yet" in told


def test_without_the_products_secret_it_makes_none_up(tmp_path: Path, command: Command, database: str) -> None:
    with pytest.raises(SettingsError, match="WHAGO_SECRET_KEY is not set"):
        command.run(DATABASE_URL=database, DATA_DIR=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_without_a_database_it_says_so(tmp_path: Path, command: Command) -> None:
    with pytest.raises(SettingsError, match="WHAGO_DATABASE_URL is not set"):
        command.run(data=tmp_path, SECRET_KEY=NEWER)


def test_the_database_of_a_running_up_is_found_in_its_folder(tmp_path: Path) -> None:
    cluster = tmp_path / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    assert running_database(tmp_path) is None
    (tmp_path / "postgres" / "password").write_text("pw\n")
    (cluster / "postmaster.pid").write_text("4711\n/data\n1700000000\n40123\n\n127.0.0.1\n  1 2\nready   \n")
    assert running_database(tmp_path) == "postgresql+psycopg://whago:pw@127.0.0.1:40123/whago"
