"""What each process of one ``up`` is: its command line, its environment, and how to know that it serves."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from whago.main.data_folder import DataFolder
from whago.main.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, free_port, port_is_free
from whago.main.probes import http_answers, port_answers
from whago.main.supervisor import Spec
from whago.settings import without_files

LOOPBACK: Final = "127.0.0.1"
DEMO_STATICS: Final = 2  # static addresses of the demo's provider, beside its sticky sessions
DEMO_REACH: Final = ("web.whatsapp.com", "mmg.whatsapp.net", "*.cdn.whatsapp.net")  # the real ones, for a real phone
GATEWAY_STATUS_PORT: Final = 9128  # of the first gateway process; the next ones count up
WORKER_STATUS_PORT: Final = 9148
UP_DRAIN_S: Final = "5"  # Ctrl-C stops everything within ten seconds, whatever a gateway of its own may take
ANY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - names to recognise, nothing is bound here


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports of one ``up``. ``gateway_status`` is that of the first gateway process.

    ``simulator`` serves chips, ``simulator_admin`` its switches; both are 0 without a demo.
    """

    web: int
    gateway: int
    gateway_status: int
    worker_status: int
    bridges: tuple[int, ...]
    simulator: int = 0
    simulator_admin: int = 0


def choose_ports(folder: DataFolder, web: int, gateway: int, *, processes: int, bridges: int = 1, demo: bool) -> Ports:
    """The simulator's ports stay the same, because the demo's provider is a row that names them."""
    ports = Ports(
        web=web,
        gateway=gateway,
        gateway_status=_status_port(GATEWAY_STATUS_PORT, processes),
        worker_status=_status_port(WORKER_STATUS_PORT, 1),
        bridges=tuple(free_port() for _ in range(bridges)),
    )
    if not demo:
        return ports
    return replace(ports, simulator=folder.port("simulator"), simulator_admin=folder.port("simulator-admin"))


def children_environment(
    given: Mapping[str, str], folder: DataFolder, ports: Ports, *, database_url: str, broker_url: str, demo: bool
) -> dict[str, str]:
    """``given`` and what the parts must know of one another. What the operator set wins, where that makes sense."""
    defaults = {
        "WHAGO_GATEWAY_PUBLIC_HOST": f"{LOOPBACK}:{ports.gateway}",
        "WHAGO_PUBLIC_URL": f"http://{LOOPBACK}:{ports.web}",
    }
    if "WHAGO_SECRET_KEY" not in given:
        defaults["WHAGO_SECRET_KEY"] = folder.secret("secret-key")
    fixed = {
        "WHAGO_DATABASE_URL": database_url,
        "WHAGO_BROKER_URL": broker_url,
        "WHAGO_DATA_DIR": str(folder.path),
        "WHAGO_GATEWAY_PORT": str(ports.gateway),
        "WHAGO_GATEWAY_DRAIN_S": UP_DRAIN_S,
        "WHAGO_BACKEND_URL": f"http://{LOOPBACK}:{ports.web}",
        "WHAGO_BRIDGE_URL": f"http://{LOOPBACK}:{ports.bridges[0]}",
        "WHAGO_BRIDGE_SECRET": folder.secret("bridge-secret"),
        "PYTHONUNBUFFERED": "1",
    }
    if demo:
        fixed["WHAGO_ALLOW_PRIVATE_UPSTREAMS"] = "1"
        fixed["WHAGO_SIMULATOR_ADMIN_URL"] = f"http://{LOOPBACK}:{ports.simulator_admin}"
    return {**defaults, **given, **fixed}


def postgres_spec(server: EmbeddedPostgres) -> Spec:
    spec = _server_spec("postgres", server)
    return replace(spec, before=server.clear_stale_pid, hurry_signal=signal.SIGQUIT)


def valkey_spec(server: EmbeddedValkey) -> Spec:
    return _server_spec("valkey", server)


def web_spec(environment: Mapping[str, str], host: str, ports: Ports) -> Spec:
    """May start before the database: it says 503 until it can serve."""
    url = f"http://{_reached_at(host)}:{ports.web}/readyz"
    argv = _whago("web", "--host", host, "--port", str(ports.web))
    return Spec("web", argv, environment, ready=lambda: http_answers(url))


def gateway_spec(
    environment: Mapping[str, str], host: str, ports: Ports, processes: int, gate: threading.Event
) -> Spec:
    """Held until the database is filled."""
    url = f"http://{LOOPBACK}:{ports.gateway_status}/readyz"
    argv = _whago("gateway", "--host", host, "--port", str(ports.gateway), "--processes", str(processes))
    argv += ["--status-port", str(ports.gateway_status), "--hold"]
    return Spec("gateway", argv, environment, ready=lambda: http_answers(url), gate=gate)


def worker_spec(environment: Mapping[str, str], ports: Ports, gate: threading.Event) -> Spec:
    """Held until the database is filled."""
    url = f"http://{LOOPBACK}:{ports.worker_status}/readyz"
    argv = _whago("worker", "--status-port", str(ports.worker_status), "--hold")
    return Spec("worker", argv, environment, ready=lambda: http_answers(url), gate=gate)


def bridge_specs(environment: Mapping[str, str], ports: Ports) -> list[Spec]:
    """The first is called ``bridge``, the others by number. A port that stays over restarts frees the chips at once."""
    return [
        _bridge_spec("bridge" if number == 1 else f"bridge-{number}", environment, port)
        for number, port in enumerate(ports.bridges, start=1)
    ]


def _bridge_spec(name: str, environment: Mapping[str, str], port: int) -> Spec:
    url = f"http://{LOOPBACK}:{port}/healthz"
    return Spec(name, _whago("bridge", "--port", str(port)), environment, ready=lambda: http_answers(url))


def simulator_spec(environment: Mapping[str, str], ports: Ports) -> Spec:
    argv = _whago("simulate-provider", "--host", LOOPBACK, "--port", str(ports.simulator))
    argv += ["--admin-port", str(ports.simulator_admin), "--static", str(DEMO_STATICS)]
    argv += [word for host in DEMO_REACH for word in ("--reach", host)]
    return Spec("simulator", argv, environment, ready=lambda: port_answers(LOOPBACK, ports.simulator))


def traffic_spec(environment: Mapping[str, str], gate: threading.Event) -> Spec:
    """Held until the demo's customers exist."""
    return Spec("demo-traffic", _whago("demo-traffic", "--hold"), environment, gate=gate)


def base_environment() -> dict[str, str]:
    """Our own environment: what is set to nothing counts as not set, and secrets are out of their files."""
    found = without_files(os.environ)
    return {name: value for name, value in found.items() if value or not name.startswith("WHAGO_")}


def _status_port(usual: int, count: int) -> int:
    """The first of ``count`` ports: the usual ones, unless another installation on this machine has them."""
    return usual if all(port_is_free(LOOPBACK, usual + number) for number in range(count)) else free_port()


def _whago(*arguments: str) -> list[str]:
    """The same Python, by module so that ``ps`` shows ``whago gateway …``; -P: no module of the working folder."""
    return [sys.executable, "-P", "-m", "whago", *arguments]


def _server_spec(name: str, server: EmbeddedServer) -> Spec:
    return Spec(
        name,
        server.argv,
        ready=server.answers,
        account=server.account,
        stop_signal=server.stop_signals[0],
        death_signal=server.death_signal,
        foundation=True,
    )


def _reached_at(host: str) -> str:
    return LOOPBACK if host in ANY_ADDRESS else host
