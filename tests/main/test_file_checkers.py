"""The checkers of deployment files: fetched whole and checked, or asked for; their absence fails no test."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from whago.main import file_checkers, test_runner
from whago.main.file_checkers import Checker, CheckerMissing, find_checker, obtain_checker


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_checkers, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(file_checkers, "MIRROR", f"{tmp_path.as_uri()}/")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return tmp_path


def package(mirror: Path) -> Checker:
    """A package of Debian's format with one program in it."""
    content = mirror / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN" / "control").write_text(
        "Package: told\nVersion: 1\nArchitecture: amd64\nMaintainer: T <t@whago.test>\nDescription: a test\n"
    )
    (content / "bin").mkdir()
    (content / "bin" / "told").write_text("#!/bin/sh\necho yes\n")
    (content / "bin" / "told").chmod(0o755)
    (mirror / "pool").mkdir()
    archive = mirror / "pool" / "told_1_amd64.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", content, archive], check=True, capture_output=True)
    return Checker("told", "pool", "told_1", "bin/told", {"amd64": hashlib.sha256(archive.read_bytes()).hexdigest()})


def test_it_is_fetched_once_and_runs(mirror: Path) -> None:
    checker = package(mirror)
    assert find_checker(checker) is None
    program = obtain_checker(checker)
    assert subprocess.run([program], capture_output=True, check=True).stdout == b"yes\n"
    (mirror / "pool" / "told_1_amd64.deb").unlink()
    assert obtain_checker(checker) == find_checker(checker) == program


def test_another_file_than_expected_is_not_unpacked(mirror: Path) -> None:
    checker = package(mirror)
    (mirror / "pool" / "told_1_amd64.deb").write_bytes(b"something else")
    with pytest.raises(CheckerMissing, match="not the file that was expected"):
        obtain_checker(checker)
    assert find_checker(checker) is None
    assert list((mirror / "tools").iterdir()) == []


def test_a_package_without_the_program_is_told(mirror: Path) -> None:
    checker = replace(package(mirror), program="bin/other")
    with pytest.raises(CheckerMissing, match="has no bin/other"):
        obtain_checker(checker)
    assert find_checker(checker) is None


def test_one_that_left_the_mirror_is_told_and_fails_nothing(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = Checker("gone", "pool", "gone_1", "bin/gone", {"amd64": "00"})
    monkeypatch.setattr(test_runner, "PROMTOOL", gone)
    monkeypatch.setattr(test_runner, "COMPOSE", package(mirror))
    assert test_runner._file_checkers() is True
    assert "gone_1_amd64.deb could not be fetched" in capsys.readouterr().out


def test_a_processor_without_packages_is_told(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(CheckerMissing, match="riscv64"):
        obtain_checker(package(mirror))
