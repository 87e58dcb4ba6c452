"""``whago doctor`` against an installation: each trouble is one finding, with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from tests.conftest import SECRET
from tests.factories import make_provider
from whago.domain.actions.partitions import make_partitions
from whago.kit import clock, db
from whago.kit.crypto import Vault
from whago.main import installation
from whago.main.embedded import free_port
from whago.main.findings import Finding, Verdict
from whago.main.installation import examine_installation
from whago.settings import Settings


@pytest.fixture
def settings(database: str, broker_url: str, tmp_path: Path, tz: ZoneInfo) -> Settings:
    make_partitions(now=clock.now(), tz=tz)  # as whago migrate does
    return Settings(
        database_url=database.replace("+psycopg", ""),
        broker_url=broker_url,
        secret_key=SECRET,  # type: ignore[arg-type]
        data_dir=tmp_path,
        backend_url=f"http://127.0.0.1:{free_port()}",
    )


def found(settings: Settings, **changed: object) -> dict[str, Finding]:
    """By subject. The engine that the tests use is put back: the doctor binds one of its own."""
    url = settings.database_url
    assert url is not None
    try:
        changed_url = str(changed.get("database_url") or url)
        findings = list(examine_installation(Settings(**{**settings.model_dump(), **changed}), changed_url, None))
    finally:
        db.connect(url)
    return {one.subject: one for one in findings}


def test_servers_that_are_well_are_told_with_their_versions(settings: Settings) -> None:
    told = found(settings)
    for subject in ("Settings", "Database", "Database TLS", "Connections", "Clock", "Migrations", "Ledger", "Broker"):
        assert told[subject].verdict is Verdict.OK, told[subject]
    assert told["Database"].found.startswith("PostgreSQL ")
    assert told["Secret key"].verdict is Verdict.OK
    assert told["Sealed rows"].verdict is Verdict.OK


def test_what_does_not_run_is_missing_and_says_what_to_start(settings: Settings) -> None:
    told = found(settings)
    assert told["Scheduler"].verdict is Verdict.MISSING
    assert told["Gateways"].verdict is Verdict.MISSING
    assert "whago gateway" in told["Gateways"].remedy
    assert told["Bridges"].verdict is Verdict.NOTE
    assert told["Web"].verdict is Verdict.NOTE


def test_every_trouble_has_a_remedy(settings: Settings) -> None:
    assert [one for one in found(settings).values() if one.verdict is Verdict.MISSING and not one.remedy] == []


def test_a_database_that_is_away_ends_the_questions_to_it(settings: Settings) -> None:
    told = found(settings, database_url=f"postgresql://whago:pass@127.0.0.1:{free_port()}/whago")
    assert told["Database"].verdict is Verdict.MISSING
    assert "pass@" not in told["Database"].found
    assert "Migrations" not in told
    assert told["Broker"].verdict is Verdict.OK


def test_a_database_of_another_version_is_told_to_migrate(settings: Settings) -> None:
    with db.transaction() as tx:
        head = tx.scalar(text("SELECT version_num FROM alembic_version"))
        tx.execute(text("UPDATE alembic_version SET version_num = '0001_first_schema'"))
    try:
        told = found(settings)
    finally:
        with db.transaction() as tx:
            tx.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    assert told["Migrations"].verdict is Verdict.MISSING
    assert "0001_first_schema" in told["Migrations"].found
    assert "whago migrate" in told["Migrations"].remedy
    assert "Ledger" not in told


def test_a_clock_that_is_ten_minutes_off_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    right = clock.now

    def ahead() -> datetime:
        return right() + timedelta(minutes=10)

    monkeypatch.setattr(installation.clock, "now", ahead)
    told = found(settings)["Clock"]
    assert told.verdict is Verdict.MISSING
    assert told.found.startswith(("600", "599"))


def test_a_month_without_a_partition_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "MONTHS_AHEAD", 24)
    told = found(settings)["Ledger"]
    assert told.verdict is Verdict.MISSING
    assert "no partition for" in told.found


def test_a_key_that_opens_nothing_is_told(settings: Settings, vault: Vault) -> None:
    make_provider(credentials=vault.seal({"password": "p"}))
    assert found(settings)["Sealed rows"].verdict is Verdict.OK
    wrong = found(settings, secret_key="another-secret-key-with-more-than-32-characters")["Sealed rows"]
    assert wrong.verdict is Verdict.MISSING
    assert "secret-key.md" in wrong.remedy


def test_no_key_is_made_by_looking(settings: Settings, tmp_path: Path) -> None:
    told = found(settings, secret_key=None)
    assert told["Secret key"].verdict is Verdict.MISSING
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_is_told(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "secret-key").write_text(SECRET)
    (tmp_path / "secret-key").chmod(0o644)
    told = found(settings, secret_key=None)["Secret key"]
    assert told.verdict is Verdict.MISSING
    assert "chmod 600" in told.remedy


@pytest.mark.parametrize("url", ["redis://:wrong@127.0.0.1:{port}/0", None])
def test_a_broker_that_is_away_or_not_named_is_told(settings: Settings, url: str | None) -> None:
    told = found(settings, broker_url=url.format(port=free_port()) if url else None)["Broker"]
    assert told.verdict is Verdict.MISSING
    assert "wrong" not in told.found


def test_a_mail_server_that_is_away_is_told_and_one_that_answers_is_fine(settings: Settings) -> None:
    away = found(settings, smtp_url=f"smtp://127.0.0.1:{free_port()}")["Mail"]
    assert away.verdict is Verdict.MISSING
    assert found(settings)["Mail"].verdict is Verdict.NOTE


def test_the_report_is_json_for_programs_and_fails_for_a_script(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "whago", "doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "WHAGO_DATABASE_URL": str(settings.database_url),
            "WHAGO_BROKER_URL": str(settings.broker_url),
            "WHAGO_SECRET_KEY": SECRET,
            "WHAGO_DATA_DIR": str(settings.data_dir),
        },
    )
    told = {one["subject"]: one for one in json.loads(done.stdout)}
    assert done.returncode == 1
    assert told["Gateways"]["state"] == "missing"
    assert set(told["Gateways"]) == {"subject", "state", "found", "remedy"}
    assert SECRET not in done.stdout
