"""The embedded servers: they start, keep their data, recover, and say in a sentence why they cannot start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from whago.main.embedded import EmbeddedPostgres, EmbeddedValkey, StartError, free_port, private_data_dir


@pytest.fixture
def folder() -> Iterator[Path]:
    made = private_data_dir()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def postgres(folder: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder / "postgres", durable=False)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[EmbeddedPostgres]:
    """One server for the tests that only look."""
    made = private_data_dir()
    with EmbeddedPostgres(made / "postgres", durable=False) as server:
        yield server
    shutil.rmtree(made)


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


def test_it_serves_a_database_to_an_ordinary_role(running: EmbeddedPostgres) -> None:
    url = running.url
    asked = (
        "SELECT current_database(), current_user::text, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
    )
    assert query(url, asked) == [("whago", "whago", False)]


def test_it_is_a_version_with_builtin_collation(running: EmbeddedPostgres) -> None:
    assert query(running.url, "SHOW server_version_num")[0][0] >= "180000"
    assert query(running.url, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'whago'") == [
        ("b", "C.UTF-8")
    ]


def test_it_refuses_a_wrong_password_and_the_superuser(running: EmbeddedPostgres) -> None:
    url = running.url
    password = url.split(":")[2].partition("@")[0]
    with pytest.raises(psycopg.OperationalError):
        query(url.replace(password, "wrong"), "SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        query(url.replace("//whago:", "//postgres:").replace("/whago", "/postgres"), "SELECT 1")


def test_it_listens_on_loopback_alone(running: EmbeddedPostgres) -> None:
    assert query(running.url, "SHOW listen_addresses") == [("127.0.0.1",)]
    assert "unix_socket_directories=" in running.argv


def test_secrets_belong_to_their_owner_alone(running: EmbeddedPostgres) -> None:
    assert (running.data_dir / "password").stat().st_mode & 0o777 == 0o600
    assert running.cluster.stat().st_mode & 0o777 == 0o700


def test_a_second_start_keeps_the_data(postgres: EmbeddedPostgres) -> None:
    query(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS n")
    postgres.stop()
    assert postgres.pid is None
    assert query(postgres.start(), "SELECT n FROM kept") == [(42,)]


def test_it_recovers_after_kill_9(postgres: EmbeddedPostgres) -> None:
    query(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS n")
    kill(postgres)
    assert (postgres.cluster / "postmaster.pid").exists()
    assert query(postgres.start(), "SELECT n FROM kept") == [(42,)]


def test_it_waits_for_the_orphans_of_a_killed_server(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS n")
        connection.commit()
        kill(postgres)
        assert query(postgres.start(), "SELECT n FROM kept") == [(42,)]


def test_a_pid_file_that_names_a_stranger_is_no_obstacle(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    kill(postgres)
    pid_file = postgres.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    stranger = subprocess.Popen(["sleep", "60"], user=postgres_user(postgres))
    pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")
    try:
        postgres.start()
    finally:
        stranger.kill()
        stranger.wait()
    assert query(postgres.url, "SELECT 1") == [(1,)]


def postgres_user(server: EmbeddedPostgres) -> int | None:
    return server.account.uid if server.account else None


def test_a_first_start_that_was_killed_is_done_again(postgres: EmbeddedPostgres) -> None:
    draft = postgres.data_dir / "draft-killed"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    assert query(postgres.start(), "SELECT 1") == [(1,)]
    assert not draft.exists()


def test_a_half_written_folder_is_told_in_a_sentence(postgres: EmbeddedPostgres) -> None:
    postgres.cluster.mkdir(parents=True)
    (postgres.cluster / "base").mkdir()
    with pytest.raises(StartError, match="not a complete PostgreSQL folder"):
        postgres.start()
    assert (postgres.cluster / "base").exists()


def test_the_data_of_another_version_is_told_in_a_sentence(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.cluster / "PG_VERSION").write_text("16\n")
    with pytest.raises(StartError, match="made by PostgreSQL 16 and this is PostgreSQL 18"):
        postgres.start()


def test_damaged_settings_are_told_in_the_servers_own_words(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.cluster / "postgresql.conf").write_text("no_such_setting = on\n")
    with pytest.raises(StartError, match="PostgreSQL did not start: FATAL"):
        postgres.start()


def test_a_lost_password_is_replaced(postgres: EmbeddedPostgres) -> None:
    query(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS n")
    postgres.stop()
    before = (postgres.data_dir / "password").read_text()
    (postgres.data_dir / "password").unlink()
    assert query(postgres.start(), "SELECT n FROM kept") == [(42,)]
    assert (postgres.data_dir / "password").read_text() != before


@pytest.mark.parametrize("kind", [EmbeddedPostgres, EmbeddedValkey])
def test_a_busy_port_is_told_in_a_sentence(kind: type[EmbeddedPostgres | EmbeddedValkey], folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=f"Port {port} on 127.0.0.1 is already in use"):
            kind(folder / "data", port).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its servers to another user")
def test_a_closed_parent_folder_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartError, match="is closed to that user"):
        EmbeddedPostgres(closed / "postgres").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands its servers to another user")
def test_binaries_out_of_reach_are_copied(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    from whago.main import reach

    closed_at = reach.closed_at
    monkeypatch.setattr(
        reach, "closed_at", lambda path, account: path if "site-packages" in str(path) else closed_at(path, account)
    )
    assert query(postgres.start(), "SELECT 1") == [(1,)]
    assert postgres.argv[0].startswith(str(postgres.data_dir / "binaries"))


def test_a_server_outlives_the_thread_that_started_it(postgres: EmbeddedPostgres) -> None:
    starter = threading.Thread(target=postgres.start)
    starter.start()
    starter.join()
    time.sleep(0.3)  # a death signal tied to that thread would have arrived by now
    assert query(postgres.url, "SELECT 1") == [(1,)]


def test_valkey_answers_to_its_password_alone(folder: Path) -> None:
    import redis

    with EmbeddedValkey(folder / "valkey") as server:
        assert redis.Redis.from_url(server.url).ping() is True
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(host="127.0.0.1", port=server.port).ping()
        assert all(word not in " ".join(server.argv) for word in (server.url.split(":")[2].partition("@")[0],))


def test_valkey_starts_again_on_the_same_folder(folder: Path) -> None:
    server = EmbeddedValkey(folder / "valkey")
    first = server.start().split("@")[0]
    server.stop()
    with server:
        assert server.url.split("@")[0] == first


def test_a_free_port_is_kept_for_its_server_and_given_to_nobody_else() -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for _ in range(2):  # a restart included
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("whago.main.embedded.PORT_SPAN", 3)
    ports = [free_port() for _ in range(5)]
    assert len(set(ports)) == 5
