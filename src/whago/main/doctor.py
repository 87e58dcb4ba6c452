"""``whago doctor``: what this machine lacks for ``whago up`` (and for the tests), or what an installation lacks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from whago.errors import SettingsError
from whago.main.chromium import ADVICE, ChromiumMissing, find_chromium
from whago.main.data_folder import default_data_dir
from whago.main.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey, port_is_free
from whago.main.findings import Finding, Verdict, open_files
from whago.main.installation import examine_installation
from whago.main.leash import StartError, spawn, unprivileged_account
from whago.main.node import modules_are_current, node_binary, node_version
from whago.main.reach import closed_at, nearest_folder, private_data_dir
from whago.settings import Settings, load

OLDEST_PYTHON: Final = (3, 11)
FIRST_REFUSED_PYTHON: Final = (3, 15)
ENOUGH_FILES: Final = 4096  # about 2,000 tunnels of a gateway process
ENOUGH_DISK_BYTES: Final = 1_000_000_000  # a database with its log, and the bridge's modules
EXIT_ADDRESSES: Final = ("127.0.0.2", "127.33.66.99")  # the demo's exit IPs are such addresses
PROBE_TIMEOUT_S: Final = 20.0
MAIN_TOOLS: Final = Path(__file__).resolve().parents[3] / ".tools" / "bin" / "uv"


def run_doctor(*, port: int = 8000, gateway_port: int = 3128, data: Path | None = None, as_json: bool = False) -> int:
    """Print the report; 1 when something is missing that ``whago up`` or the installation needs, else 0.

    With a database of one's own the installation is looked at, else what this machine needs for ``whago up``.
    """
    settings = _settings()
    if isinstance(settings, Settings) and settings.database_url is not None:
        findings, well = list(examine_installation(settings, settings.database_url, data)), "Nothing is missing."
    else:
        findings, well = list(examine(port, gateway_port, data)), "This machine can run whago up."
    print(as_text(findings)) if as_json else _print(findings, well)
    return 1 if any(finding.verdict is Verdict.MISSING for finding in findings) else 0


def as_text(findings: list[Finding]) -> str:
    """The report for programs: a JSON array of objects."""
    return json.dumps([finding.told() for finding in findings], ensure_ascii=False, indent=1)


def examine(port: int, gateway_port: int, data: Path | None) -> Iterator[Finding]:
    """What a machine needs for ``whago up``, in the order in which a start would meet it."""
    yield _python()
    yield _uv()
    settings = _settings()
    yield (
        settings if isinstance(settings, Finding) else Finding("Settings", Verdict.OK, "every WHAGO_ variable is known")
    )
    known = Settings() if isinstance(settings, Finding) else settings
    folder = (data or known.data_dir or default_data_dir()).expanduser().absolute()
    yield _data_folder(folder)
    scratch = private_data_dir()  # binaries that the database's user cannot reach are copied
    yield _server("PostgreSQL", EmbeddedPostgres, scratch, known.database_url, "WHAGO_DATABASE_URL")
    yield _server("Valkey", EmbeddedValkey, scratch, known.broker_url, "WHAGO_BROKER_URL")
    shutil.rmtree(scratch)
    yield _node()
    yield _bridge_modules()
    yield _port(port, "--port")
    yield _port(gateway_port, "--gateway-port")
    yield open_files(ENOUGH_FILES, f"Few tunnels fit: raise it (ulimit -Hn {ENOUGH_FILES}).")
    yield _splice()
    yield _exit_addresses()
    yield _chromium()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if OLDEST_PYTHON <= sys.version_info[:2] < FIRST_REFUSED_PYTHON:
        return Finding("Python", Verdict.OK, version)
    return Finding("Python", Verdict.MISSING, version, "Install Python 3.11 to 3.14 and remove the folder .venv.")


def _uv() -> Finding:
    found = shutil.which("uv") or (str(MAIN_TOOLS) if MAIN_TOOLS.exists() else None)
    if found:
        return Finding("uv", Verdict.OK, found)
    return Finding("uv", Verdict.NOTE, "not found", "./whago puts one into .tools when packages must be installed.")


def _settings() -> Settings | Finding:
    try:
        return load()
    except SettingsError as error:
        return Finding("Settings", Verdict.MISSING, str(error), "Correct or unset the variable.")


def _data_folder(folder: Path) -> Finding:
    nearest = nearest_folder(folder)
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(
            "Data folder", Verdict.MISSING, f"{nearest} cannot be written", "Choose another with --data DIR."
        )
    account = unprivileged_account()
    closed = closed_at(nearest, account) if account else None
    if closed is not None:
        remedy = f"Choose one with open parents (--data DIR), or run: chmod o+x {closed}"
        return Finding("Data folder", Verdict.MISSING, f"{closed} is closed to the database's user", remedy)
    free = shutil.disk_usage(nearest).free
    found = f"{folder}{'' if nearest == folder else ' (not made yet)'}, {free / 1e9:.1f} GB free"
    if free < ENOUGH_DISK_BYTES:
        return Finding("Data folder", Verdict.NOTE, found, "Make room: 1 GB is a start.")
    return Finding("Data folder", Verdict.OK, found)


def _server(
    name: str, kind: type[EmbeddedPostgres] | type[EmbeddedValkey], scratch: Path, url: str | None, variable: str
) -> Finding:
    """Run the server's binary as the user that would run it."""
    if url is not None:
        return Finding(name, Verdict.OK, f"yours, by {variable}")
    try:
        server = kind(scratch / name)
        told = _version(server)
    except StartError as error:
        return Finding(name, Verdict.MISSING, str(error), f"Or set {variable} to your own server.")
    user = f" as user {server.account.name}" if server.account else ""
    return Finding(name, Verdict.OK, f"{told}{user}")


def _version(server: EmbeddedServer) -> str:
    program = server.program()
    process = spawn(
        [str(program), "--version"],
        account=server.account,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=Path("/"),
    )
    try:
        told = process.communicate(timeout=PROBE_TIMEOUT_S)[0].decode(errors="replace").strip()
    except subprocess.TimeoutExpired:
        process.kill()
        raise StartError(f"{program} does not answer.") from None
    if process.returncode != 0:
        raise StartError(told or f"{program} ended with code {process.returncode}.")
    return told.splitlines()[0].partition(" sha=")[0]


def _node() -> Finding:
    try:
        node = node_binary()
    except StartError as error:
        return Finding("Node", Verdict.MISSING, "not found", str(error))
    major, minor = node_version(node)
    return Finding("Node", Verdict.OK, f"{major}.{minor} in {node}")


def _bridge_modules() -> Finding:
    try:
        current = modules_are_current()
    except StartError as error:
        return Finding("Bridge", Verdict.MISSING, str(error))
    if current:
        return Finding("Bridge", Verdict.OK, "modules installed")
    return Finding("Bridge", Verdict.NOTE, "modules not installed", "whago up installs them from the npm registry.")


def _port(port: int, option: str) -> Finding:
    if port_is_free("127.0.0.1", port):
        return Finding(f"Port {port}", Verdict.OK, "free")
    return Finding(f"Port {port}", Verdict.MISSING, "in use", f"End what uses it, or choose another with {option}.")


def _splice() -> Finding:
    if hasattr(os, "splice"):
        return Finding("splice(2)", Verdict.OK, "available: the kernel moves the bytes")
    return Finding("splice(2)", Verdict.NOTE, "not available", "The gateway copies bytes itself, at twice the CPU.")


def _exit_addresses() -> Finding:
    try:
        for address in EXIT_ADDRESSES:
            with socket.socket() as probe:
                probe.bind((address, 0))
    except OSError as error:
        return Finding(
            "127.x.y.z", Verdict.NOTE, f"cannot be bound: {error.strerror}", "The demo needs Linux for its exits."
        )
    return Finding("127.x.y.z", Verdict.OK, "every address can be bound: exits for the demo")


def _chromium() -> Finding:
    try:
        found = find_chromium()
    except ChromiumMissing as error:
        return Finding("Chromium", Verdict.NOTE, str(error), "Only the browser tests need it.")
    if found is None:
        return Finding("Chromium", Verdict.NOTE, "not found", ADVICE)
    return Finding("Chromium", Verdict.OK, str(found))


def _print(findings: list[Finding], well: str) -> None:
    styles: dict[Verdict, str] = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.MISSING: "bold red"}
    table = Table(show_edge=False, pad_edge=False)
    for heading in ("", "state", "found", "what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        style = styles[finding.verdict]
        table.add_row(finding.subject, f"[{style}]{finding.verdict.value}[/]", finding.found, finding.remedy)
    Console().print(table)
    missing = sum(finding.verdict is Verdict.MISSING for finding in findings)
    print(f"\n{missing} thing{'s' if missing != 1 else ''} missing." if missing else f"\n{well}")
