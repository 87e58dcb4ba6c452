"""What ``whago web`` and ``create-admin`` make of the settings."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from whago.domain.queries.users import stored_login
from whago.errors import SettingsError
from whago.kit.passwords import check_password
from whago.main.accounts import create_admin, ensure_admin
from whago.main.engines import gateway_address
from whago.main.leash import StartError
from whago.main.secret import FILE_NAME, secret_key, secret_keys
from whago.main.web import web_config
from whago.settings import load

SECRET = "x" * 40


def test_the_secret_is_made_once_by_whoever_asks_first(tmp_path: Path) -> None:
    settings = load({"WHAGO_DATA_DIR": str(tmp_path / "data")})
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: secret_key(settings), range(8)))
    assert len(found) == 1
    kept = tmp_path / "data" / FILE_NAME
    assert kept.read_text().strip() in found
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert [path.name for path in kept.parent.iterdir()] == [FILE_NAME]


def test_the_settings_secret_wins_and_earlier_ones_follow(tmp_path: Path) -> None:
    settings = load(
        {"WHAGO_SECRET_KEY": SECRET, "WHAGO_SECRET_KEY_PREVIOUS": "old-1,old-2", "WHAGO_DATA_DIR": str(tmp_path)}
    )
    assert secret_keys(settings) == (SECRET, "old-1", "old-2")
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_secret_is_told_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("short\n")
    with pytest.raises(StartError, match="holds no usable secret key"):
        secret_key(load({"WHAGO_DATA_DIR": str(tmp_path)}))
    assert (tmp_path / FILE_NAME).read_text() == "short\n"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        (None, "127.0.0.1:3128"),
        ("gate.example", "gate.example:3128"),
        ("gate.example:8443", "gate.example:8443"),
        ("[::1]", "[::1]:3128"),
        ("[::1]:9", "[::1]:9"),
    ],
)
def test_chips_are_told_the_public_address(host: str | None, address: str) -> None:
    assert gateway_address(load({"WHAGO_GATEWAY_PUBLIC_HOST": host} if host else {})) == address


def test_cookies_are_for_https_alone_where_the_site_is() -> None:
    def secure(**settings: str) -> bool:
        return web_config(load({"WHAGO_SECRET_KEY": SECRET} | settings)).cookie_secure

    assert secure(WHAGO_PUBLIC_URL="https://whago.example")
    assert not secure(WHAGO_PUBLIC_URL="http://whago.example")
    assert secure(WHAGO_PUBLIC_URL="http://whago.example", WHAGO_COOKIE_SECURE="1")
    assert not secure()


def test_without_bridge_settings_there_is_no_bridge() -> None:
    given = {"WHAGO_SECRET_KEY": SECRET, "WHAGO_BRIDGE_URL": "http://127.0.0.1:1"}
    assert web_config(load(given)).bridge is None
    assert web_config(load(given | {"WHAGO_BRIDGE_SECRET": "s" * 20})).bridge is not None


def test_create_admin_may_be_run_again(
    database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHAGO_DATABASE_URL", database)
    for password in ("first-password", "second-password"):
        create_admin(email="Boss@Example.com", password=password, name="Boss")
    login = stored_login("boss@example.com")
    assert login is not None
    assert check_password(login.password_hash, "second-password")
    assert "boss@example.com is an administrator" in capsys.readouterr().out


def test_a_bad_account_is_told_in_a_sentence(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHAGO_DATABASE_URL", database)
    with pytest.raises(SettingsError, match="8 to 256 characters"):
        create_admin(email="a@b.test", password="short", name="A")
    with pytest.raises(SettingsError, match="not an e-mail address"):
        create_admin(email="nonsense", password="long-enough", name="A")


def test_the_first_start_makes_an_administrator_and_the_next_ones_do_not(database: str) -> None:
    settings = load({"WHAGO_DATABASE_URL": database})
    assert ensure_admin(settings, email="admin@whago.local", password="first-password")
    assert not ensure_admin(settings, email="admin@whago.local", password="other-password")
    assert not ensure_admin(settings, email="another@whago.local", password="other-password")
    named = load({"WHAGO_DATABASE_URL": database, "WHAGO_ADMIN_EMAIL": "named@whago.local"})
    assert ensure_admin(named, email="named@whago.local", password="other-password")
    assert not ensure_admin(named, email="named@whago.local", password="changed-password")


SAYS_WHAT_IS_FROZEN = """
import gc, uvicorn
from whago.main.web import run
uvicorn.run = lambda *_, **__: print(gc.get_freeze_count())
run("127.0.0.1", 1)
"""


def test_no_request_waits_while_all_that_was_loaded_is_looked_through(database: str, tmp_path: Path) -> None:
    environment = {**os.environ, "WHAGO_DATABASE_URL": database, "WHAGO_DATA_DIR": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", SAYS_WHAT_IS_FROZEN], env=environment, capture_output=True, text=True, check=True
    )
    assert int(told.stdout.split()[-1]) > 100_000
