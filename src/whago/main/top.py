"""``whago gateway --top``: what the gateway processes of this machine are doing, once a second."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final, cast
from urllib.request import urlopen

from rich.console import Console
from rich.live import Live

from whago.main.leash import StartError
from whago.main.naming import Namer
from whago.main.top_screen import screen
from whago.settings import load

LOOPBACK: Final = "127.0.0.1"
REFRESH_S: Final = 1.0  # a gateway's rates are of its last whole second
COUNTED_S: Final = 2.2  # the first look begins the counting; after this a whole second was counted
ANSWER_S: Final = 2.0  # who does not answer on loopback in this time is not shown
MAX_PROCESSES: Final = 64  # what --processes allows
GAP: Final = 3  # ports that may be silent in a row: a process that restarts is not the last one
PLAIN_WIDTH: Final = 120  # without a terminal


@dataclass(slots=True)
class View:
    """All processes together at one moment. Rates are bytes per second; ``totals`` are since each process's start.

    ``totals``: up, down, overhead, opened, lease_waits. ``at``: monotonic seconds.
    """

    at: float
    processes: list[dict[str, Any]] = field(default_factory=list)
    chips: dict[str, dict[str, Any]] = field(default_factory=dict)
    users: Counter[str] = field(default_factory=Counter)
    proxies: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)


def run(*, status_port: int, once: bool) -> None:
    """Until Ctrl-C, or for one look. Raises StartError when no gateway answers."""
    namer = Namer(load().database_url)
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=PLAIN_WIDTH)
    before = look(status_port)
    if not before.processes:
        raise StartError(
            f"No gateway answers on {LOOPBACK}:{status_port}: start one, or name its port with --status-port."
        )
    if once:
        time.sleep(COUNTED_S)
        console.print(screen(before, look(status_port), namer))
        return
    try:
        _follow(console, status_port, namer, before)
    except KeyboardInterrupt:
        return


def look(status_port: int) -> View:
    """Every process whose status port is ``status_port`` or follows it; there may be none."""
    view, silent = View(time.monotonic()), 0
    for port in range(status_port, status_port + MAX_PROCESSES):
        answer = _ask(port)
        silent = 0 if answer else silent + 1
        if answer:
            add(view, {**answer, "status_port": port})
        if silent > GAP:
            break
    return view


def add(view: View, answer: dict[str, Any]) -> None:
    """One process's answer to ``/top``."""
    view.processes.append(answer)
    view.totals.update({**answer["bytes"], "opened": answer["opened"], "lease_waits": answer["lease_waits"]})
    view.refusals.update(answer["refusals"])
    view.users.update({one["id"]: one["rate"] for one in answer["users"]})
    view.proxies.update({one["id"]: one["rate"] for one in answer["proxies"]})
    for chip in answer["chips"]:
        known = view.chips.setdefault(chip["id"], {**chip, "rate": 0.0, "tunnels": 0})
        known["rate"] += chip["rate"]
        known["tunnels"] += chip["tunnels"]


def _follow(console: Console, status_port: int, namer: Namer, before: View) -> None:
    """Until SIGINT, which is waited for: thrown into a finalizer of the last look's answer, it would be lost."""
    before_that = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        _refresh(console, status_port, namer, before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before_that)


def _refresh(console: Console, status_port: int, namer: Namer, before: View) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while signal.sigtimedwait({signal.SIGINT}, REFRESH_S) is None:
            after = look(status_port)
            live.update(screen(before, after, namer), refresh=True)
            before = after


def _ask(port: int) -> dict[str, Any] | None:
    """None: nobody, or somebody else, is there."""
    try:
        with urlopen(f"http://{LOOPBACK}:{port}/top", timeout=ANSWER_S) as answer:
            return cast("dict[str, Any]", json.load(answer))
    except (OSError, ValueError):
        return None
