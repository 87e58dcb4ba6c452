"""Debian's PostgreSQL and Redis as an operator's own servers: separate processes, a password, TLS where it is due."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.topology.certificates import Certificates
from whago.main.debian_servers import ADVICE, DebianServers, find_servers
from whago.main.embedded import free_port
from whago.main.reach import private_data_dir

PASSWORD: Final = "an-operators-password"
ANSWERS_S: Final = 60.0
POLL_S: Final = 0.05
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs: its address there, and the network namespace when it is a machine of its own."""

    address: str = LOOPBACK
    namespace: str | None = None

    def command(self, *argv: object) -> list[str]:
        entered = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [*entered, *map(str, argv)]


HERE: Final = Place()


def debian_servers() -> DebianServers:
    """Skips the test where they are not installed; ``./whago test`` has tried to, and told."""
    found = find_servers()
    if found is None:
        pytest.skip(ADVICE)
    return found


class Server:
    """A context manager: runs while inside; ``start`` and ``stop`` may be called there as often as one likes."""

    def __init__(self, place: Place = HERE, certificates: Certificates | None = None) -> None:
        self.place = place
        self.port = free_port()
        self.certificates = certificates
        self.folder = private_data_dir()
        self.programs = debian_servers()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.prepare()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self) -> None:
        """What is done once, before the first start."""

    def start(self) -> None:
        """Returns when it answers."""
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self._as_nobody(*self.argv()), stdout=log, stderr=log, cwd="/")
        deadline = time.monotonic() + ANSWERS_S
        while not self.answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(POLL_S)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def argv(self) -> list[object]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def _as_nobody(self, *argv: object) -> list[str]:
        if os.geteuid() != 0:
            return self.place.command(*argv)
        account = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
        return self.place.command(*account, *argv)

    def _own_folder(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        self._hand_over(folder)
        return folder

    def _hand_over(self, path: Path) -> Path:
        if os.geteuid() == 0:
            shutil.chown(path, "nobody", "nogroup")
        return path

    def _tls_files(self) -> tuple[Path, Path]:
        """The server's certificate and key where its user may read them, the key for it alone."""
        assert self.certificates is not None
        files = []
        for source in (self.certificates.server, self.certificates.server_key):
            copy = self.folder / source.name
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
            files.append(self._hand_over(copy))
        return files[0], files[1]


class DebianPostgres(Server):
    """``url()`` is that of the role ``whago``, which owns the database ``whago`` and may make others."""

    def prepare(self) -> None:
        cluster = self._own_folder("cluster")
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self._hand_over(secret)
        options = ["-U", "postgres", "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            self._as_nobody(self.programs.postgres / "initdb", "-D", cluster, "--no-sync", *options),
            check=True,
            capture_output=True,
            cwd="/",
        )
        kind = "hostssl" if self.certificates else "host"
        (cluster / "pg_hba.conf").write_text(f"{kind} all all all scram-sha-256\n")

    def start(self) -> None:
        super().start()
        with psycopg.connect(self.url("postgres", "postgres"), autocommit=True) as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = 'whago'").fetchone():
                admin.execute(f"CREATE ROLE whago LOGIN CREATEDB PASSWORD '{PASSWORD}'")
                admin.execute("CREATE DATABASE whago OWNER whago")

    def url(self, database: str = "whago", user: str = "whago") -> str:
        tls = f"?sslmode=verify-full&sslrootcert={self.certificates.authority}" if self.certificates else ""
        return f"postgresql://{user}:{PASSWORD}@{self.place.address}:{self.port}/{database}{tls}"

    def another_database(self, name: str) -> str:
        with psycopg.connect(self.url("postgres"), autocommit=True) as role:
            role.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def argv(self) -> list[object]:
        settings = {
            "listen_addresses": self.place.address,
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": 200,
            "fsync": "off",  # a commit still survives the server's kill -9
            "full_page_writes": "off",
        }
        if self.certificates:
            certificate, key = self._tls_files()
            settings |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [self.programs.postgres / "postgres", "-D", self.folder / "cluster", *options]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres", "postgres"), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


class DebianRedis(Server):
    """With TLS it listens for nothing else."""

    def prepare(self) -> None:
        self._own_folder("redis")

    def url(self) -> str:
        if self.certificates is None:
            return f"redis://:{PASSWORD}@{self.place.address}:{self.port}/0"
        ca = self.certificates.authority
        return f"rediss://:{PASSWORD}@{self.place.address}:{self.port}/0?ssl_ca_certs={ca}"

    def argv(self) -> list[object]:
        ports: list[object] = ["--port", self.port]
        if self.certificates:
            certificate, key = self._tls_files()
            ports = ["--port", 0, "--tls-port", self.port, "--tls-auth-clients", "no"]
            ports += ["--tls-cert-file", certificate, "--tls-key-file", key]
            ports += ["--tls-ca-cert-file", self._authority()]
        keep_nothing = ["--save", "", "--appendonly", "no", "--dir", self.folder / "redis"]
        return [self.programs.redis, *ports, "--bind", self.place.address, "--requirepass", PASSWORD, *keep_nothing]

    def answers(self) -> bool:
        client = Redis.from_url(self.url(), socket_timeout=2, socket_connect_timeout=2)
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False
        finally:
            client.close()

    def _authority(self) -> Path:
        assert self.certificates is not None
        copy = self.folder / "authority.pem"
        shutil.copyfile(self.certificates.authority, copy)
        return self._hand_over(copy)
