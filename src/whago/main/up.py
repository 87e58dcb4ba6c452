"""``whago up``: the whole product on this machine, from nothing to one ready line."""

from __future__ import annotations

import importlib
import resource
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import psycopg

from whago.kit.db import driver_url
from whago.main import parts
from whago.main.console import Console
from whago.main.data_folder import DataFolder, FirstAdmin, default_data_dir, new_password
from whago.main.embedded import EmbeddedPostgres, EmbeddedValkey, port_is_free
from whago.main.leash import StartError
from whago.main.probes import port_answers
from whago.main.stopping import StopRequested, stop_requests
from whago.main.supervisor import Supervisor
from whago.settings import Settings, load

DEFAULT_ADMIN_EMAIL: Final = "admin@whago.local"
STEP_SHOWN_S: Final = 1.0  # quicker steps are not worth a line with their time
FOUNDATION_TIMEOUT_S: Final = 120.0  # crash recovery of a large database
PARTS_TIMEOUT_S: Final = 120.0  # a start takes 3 s; a machine under load gets time
BRIDGE_TIMEOUT_S: Final = 120.0  # the first start downloads its modules
PORT_PATIENCE_S: Final = 3.0  # a predecessor that was killed a moment ago may still be letting go
OPEN_FILES: Final = 65_536  # two per tunnel and some: 30,000 tunnels
DATABASE_PATIENCE_S: Final = 5  # the operator's server may be far away
BROKER_PORT: Final = 6379  # of a Redis URL that names none
LAST_POLL_S: Final = 3600.0  # the main thread only sleeps; signals wake it


@dataclass(frozen=True, slots=True)
class Options:
    """The command line of ``up``."""

    demo: bool = False
    data: Path | None = None
    host: str = parts.LOOPBACK
    port: int = 8000
    gateway_port: int = 3128
    gateway_processes: int = 1
    bridges: int = 1


def run_up(options: Options) -> int:
    """Run until asked to stop; the exit code. Raises StartError or SettingsError with what stands in the way."""
    console = Console()
    supervisor = Supervisor(console)
    with stop_requests(supervisor.hurry) as requests:
        try:
            _Up(options, console, supervisor).run()
        except StopRequested:
            console.say("Stopping. Once more ends everything at once.")
        finally:
            requests.hurry_only()
            supervisor.stop()
    console.say("Stopped.")
    return 0


class _Up:
    def __init__(self, options: Options, console: Console, supervisor: Supervisor) -> None:
        self.options = options
        self.console = console
        self.supervisor = supervisor
        self.filled = threading.Event()
        self.bridges: list[str] = []
        self.began = time.monotonic()
        self.given = parts.base_environment()
        self.settings = load(self.given)
        chosen = options.data or self.settings.data_dir or default_data_dir(demo=options.demo)
        self.folder = DataFolder(chosen)

    def run(self) -> None:
        self._check_ports()
        self.folder.claim()
        _raise_open_files()
        self.console.say(f"Data folder {self.folder.path}")
        threading.Thread(target=_import_ahead, args=(self.options.demo,), name="import ahead", daemon=True).start()
        ports = self._ports()
        database_url, broker_url = self._foundations()
        environment = parts.children_environment(
            self.given, self.folder, ports, database_url=database_url, broker_url=broker_url, demo=self.options.demo
        )
        self._start_parts(environment, ports)
        self._wait_foundations()
        admin, accounts = self._fill_database(load(environment), ports)
        self._serve()
        self._say_ready(admin, accounts)
        while True:
            time.sleep(LAST_POLL_S)

    def _check_ports(self) -> None:
        options = self.options
        if options.port == options.gateway_port:
            raise StartError(
                f"Port {options.port} is asked for twice: give --port and --gateway-port different numbers."
            )
        for port, option in ((options.port, "--port"), (options.gateway_port, "--gateway-port")):
            if not _free_in_time(options.host, port):
                raise StartError(
                    f"Port {port} on {options.host} is not available: end what uses it, or choose one with {option}."
                )

    def _ports(self) -> parts.Ports:
        options = self.options
        return parts.choose_ports(
            self.folder,
            options.port,
            options.gateway_port,
            processes=options.gateway_processes,
            bridges=options.bridges,
            demo=options.demo,
        )

    def _foundations(self) -> tuple[str, str]:
        """URLs of database and broker: the operator's, or embedded ones that are starting."""
        database_url, broker_url = self.settings.database_url, self.settings.broker_url
        if database_url is None:
            postgres = EmbeddedPostgres(self.folder.path / "postgres")
            with self._step("Preparing PostgreSQL"):
                postgres.prepare()
            self.supervisor.start(parts.postgres_spec(postgres))
            database_url = postgres.url
        else:
            _check_database(database_url)
        if broker_url is None:
            valkey = EmbeddedValkey(self.folder.path / "valkey")
            with self._step("Preparing Valkey"):
                valkey.prepare()
            self.supervisor.start(parts.valkey_spec(valkey))
            broker_url = valkey.url
        else:
            _check_broker(broker_url)
        return database_url, broker_url

    def _start_parts(self, environment: Mapping[str, str], ports: parts.Ports) -> None:
        """All load at once; what needs the database begins when it is filled."""
        options = self.options
        bridges = parts.bridge_specs(environment, ports)
        self.bridges = [spec.name for spec in bridges]
        specs = [
            *bridges,  # first: their modules may have to be downloaded
            *([parts.simulator_spec(environment, ports)] if options.demo else []),
            parts.web_spec(environment, options.host, ports),
            parts.gateway_spec(environment, options.host, ports, options.gateway_processes, self.filled),
            parts.worker_spec(environment, ports, self.filled),
            *([parts.traffic_spec(environment, self.filled)] if options.demo else []),
        ]
        for spec in specs:
            self.supervisor.start(spec)

    def _wait_foundations(self) -> None:
        embedded = {"postgres": self.settings.database_url, "valkey": self.settings.broker_url}
        with self._step("Starting database and broker"):
            self.supervisor.wait_ready([name for name, url in embedded.items() if url is None], FOUNDATION_TIMEOUT_S)

    def _fill_database(self, settings: Settings, ports: parts.Ports) -> tuple[FirstAdmin | None, Sequence[str]]:
        from whago.main import migrate

        assert settings.database_url is not None
        with self._step("Bringing the database up to date"):
            migrate.prepare(settings, settings.database_url)
        with self._step("Looking after the first administrator"):
            admin = self._first_admin(settings)
        if not self.options.demo:
            return admin, ()
        from whago.main import demo

        with self._step("Preparing the demo's customers"):
            self.supervisor.wait_ready(["simulator"], PARTS_TIMEOUT_S)
            return admin, demo.seed(settings, simulator_host=parts.LOOPBACK, simulator_port=ports.simulator)

    def _first_admin(self, settings: Settings) -> FirstAdmin | None:
        from whago.main import accounts

        email = settings.admin_email or DEFAULT_ADMIN_EMAIL
        chosen = settings.admin_password.get_secret_value() if settings.admin_password else None
        password = chosen or new_password()
        if not accounts.ensure_admin(settings, email=email, password=password):
            return self.folder.first_admin()
        self.folder.keep_first_admin(FirstAdmin(email, None if chosen else password))
        return FirstAdmin(email, password)

    def _serve(self) -> None:
        with self._step("Starting web, gateway and worker"):
            self.filled.set()
            self.supervisor.wait_ready(["gateway", "web", "worker"], PARTS_TIMEOUT_S)
        with self._step("Waiting for the WhatsApp bridge"):
            self._wait_bridge()

    def _wait_bridge(self) -> None:
        """The one part that may be missing: chips on external engines run without it, and it is tried again."""
        try:
            self.supervisor.wait_ready(self.bridges, BRIDGE_TIMEOUT_S)
        except StartError as error:
            self.console.say(f"WARNING: chips that need the WhatsApp bridge cannot connect yet. {error}")

    def _say_ready(self, admin: FirstAdmin | None, accounts: Sequence[str]) -> None:
        url = f"http://{parts.LOOPBACK}:{self.options.port}"
        seconds = time.monotonic() - self.began
        lines = [f"WHAGO is ready: {url}  {_admin_words(admin)}  (in {seconds:.1f} s; Ctrl-C stops everything)"]
        lines += [f"Demo account: {account}" for account in accounts]
        self.console.plain("\n" + "\n".join(lines) + "\n")

    @contextmanager
    def _step(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        self.console.say(f"{title} …")
        yield
        seconds = time.monotonic() - began
        if seconds >= STEP_SHOWN_S:
            self.console.say(f"{title}: done in {seconds:.1f} s")


def _admin_words(admin: FirstAdmin | None) -> str:
    if admin is None:
        return "with the administrator that it already had"
    return f"admin {admin.email}  password {admin.password or 'as given when it was created'}"


def _import_ahead(demo: bool) -> None:
    """The database code takes a second to import: time in which PostgreSQL starts anyway."""
    for name in ("migrate", "accounts", *(["demo"] if demo else [])):
        importlib.import_module(f"whago.main.{name}")


def _free_in_time(host: str, port: int) -> bool:
    deadline = time.monotonic() + PORT_PATIENCE_S
    while not (free := port_is_free(host, port)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return free


def _raise_open_files() -> None:
    """Children inherit it. More is not ours to take when the system allows less."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_database(url: str) -> None:
    """A sentence instead of a trace when the operator's database cannot be reached."""
    try:
        psycopg.connect(driver_url(url), connect_timeout=DATABASE_PATIENCE_S).close()
    except psycopg.OperationalError as error:
        reason = str(error).strip().partition("\n")[0]
        raise StartError(f"WHAGO_DATABASE_URL: the database does not answer: {reason}") from None


def _check_broker(url: str) -> None:
    address = urlsplit(url)
    host, port = address.hostname or parts.LOOPBACK, address.port or BROKER_PORT
    if not port_answers(host, port):
        raise StartError(f"WHAGO_BROKER_URL: nothing answers on {host}:{port}.")
