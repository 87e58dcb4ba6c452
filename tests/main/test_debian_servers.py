"""Debian's servers for the tests: found, else asked for, and never left out in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

from whago.main import debian_servers, test_runner
from whago.main.debian_servers import ADVICE, ServersMissing, find_servers, obtain_servers


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without PostgreSQL, Redis and apt-get; its PATH is the folder."""
    monkeypatch.setattr(debian_servers, "POSTGRES_FOLDERS", tmp_path / "postgresql")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_newest_postgresql_is_taken(bare: Path) -> None:
    redis = program(bare / "redis-server")
    assert find_servers() is None
    for version in ("9.6", "15", "13"):
        program(bare / "postgresql" / version / "bin" / "postgres")
    found = find_servers()
    assert found is not None
    assert (found.postgres, found.redis) == (bare / "postgresql/15/bin", redis)


def test_where_nothing_can_be_installed_it_says_how(bare: Path) -> None:
    with pytest.raises(ServersMissing) as told:
        obtain_servers()
    assert str(told.value) == ADVICE
    assert "apt-get install postgresql redis-server" in ADVICE


def test_a_failing_apt_is_told_in_its_own_words(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "env").write_text('#!/bin/sh\necho "E: no such mirror" >&2\nexit 100\n')
    program(bare / "apt-get")
    program(bare / "true")
    program(bare / "sudo").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    with pytest.raises(ServersMissing, match="no such mirror"):
        obtain_servers()


@pytest.mark.parametrize(("ci", "passes"), [("", True), ("true", False)])
def test_only_ci_takes_their_absence_for_a_failure(
    bare: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str, passes: bool
) -> None:
    monkeypatch.setenv("CI", ci)
    assert test_runner._debian_servers() is passes
    assert ADVICE in capsys.readouterr().out
