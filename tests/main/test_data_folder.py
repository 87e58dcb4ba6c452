"""The data folder: one user at a time, secrets that stay, ports that stay."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from whago.main.data_folder import DataFolder, FirstAdmin, default_data_dir
from whago.main.leash import StartError


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    made = DataFolder(tmp_path / "data")
    made.claim()
    return made


def test_a_second_user_of_the_folder_is_refused_in_a_sentence(folder: DataFolder) -> None:
    with pytest.raises(StartError, match=r"Another whago already runs on .*/data \(process \d+\): stop it first\."):
        DataFolder(folder.path).claim()


def test_a_refused_second_user_does_not_free_the_folder(folder: DataFolder) -> None:
    for _ in range(2):
        with pytest.raises(StartError):
            DataFolder(folder.path).claim()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"The data folder .*/file/data cannot be used: Not a directory"):
        DataFolder(tmp_path / "file" / "data").claim()


def test_secrets_stay_and_belong_to_their_owner_alone(folder: DataFolder) -> None:
    first = folder.secret("secret-key")
    assert len(first) >= 32
    assert DataFolder(folder.path).secret("secret-key") == first
    assert folder.secret("bridge-secret") != first
    assert (folder.path / "secret-key").stat().st_mode & 0o777 == 0o600


def test_a_port_stays_until_somebody_else_takes_it(folder: DataFolder) -> None:
    first = folder.port("simulator")
    assert folder.port("simulator") == first
    with socket.create_server(("127.0.0.1", first)):
        second = folder.port("simulator")
    assert second != first
    assert folder.port("simulator") == second


def test_the_first_admin_is_remembered_without_being_shown(folder: DataFolder) -> None:
    assert folder.first_admin() is None
    folder.keep_first_admin(FirstAdmin("ana@example.com", "correct horse"))
    assert folder.first_admin() == FirstAdmin("ana@example.com", "correct horse")
    assert "correct horse" not in repr(folder.first_admin())
    assert (folder.path / "first-admin.json").stat().st_mode & 0o777 == 0o600


def test_a_demo_keeps_apart_from_the_real_data() -> None:
    assert default_data_dir(demo=True) == default_data_dir() / "demo"
