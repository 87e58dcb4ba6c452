"""The results as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.gateway.exactness import Account
from benchmarks.gateway.figures import Figures, medians, ratio_name, with_ratios
from benchmarks.gateway.run import Entry
from benchmarks.gateway.targets import Verdict

BUSY_END: Final = 0.9  # of one core: an end of the wire as busy as this, not the gateway, may have set the figure
MISSING: Final = "–"
YARDSTICKS: Final = ("haproxy", "ours")  # whom the targets and the table compare with


@dataclass(frozen=True, slots=True)
class Column:
    """``figure`` as in ``phases``; ``of_haproxy``: show the ratio to HAProxy in HTTP mode with large pipes instead."""

    head: str
    figure: str
    digits: int = 0
    of_haproxy: bool = False


COLUMNS: Final = (
    Column("CPU s per GB, 16 tunnels", "bulk_cpu_s_per_gb", 2),
    Column("× HAProxy", "bulk_cpu_s_per_gb", 2, of_haproxy=True),
    Column("GB/s, 16 tunnels", "bulk_gb_per_s", 2),
    Column("CPU s per GB, 1 tunnel", "one_bulk_cpu_s_per_gb", 2),
    Column("GB/s, 1 tunnel", "one_bulk_gb_per_s", 2),
    Column("tunnels set up per s", "setups_per_s"),
    Column("× HAProxy", "setups_per_s", 2, of_haproxy=True),
    Column("CPU µs per tunnel", "setup_cpu_us"),
)
QUIET_COLUMNS: Final = (
    Column("echo p50 µs", "echo_p50_us"),
    Column("p99 µs", "echo_p99_us"),
    Column("echo p50 µs beside idle tunnels", "idle_echo_p50_us"),
    Column("p99 µs", "idle_echo_p99_us"),
    Column("idle tunnels", "idle_tunnels"),
    Column("KiB per idle tunnel", "idle_kib", 1),
    Column("KiB per tunnel whose client does not read", "stalled_kib", 0),
)
PHASES: Final = {"setup": "set-up", "one_bulk": "1 tunnel", "bulk": "16 tunnels"}


@dataclass(frozen=True, slots=True)
class Head:
    """What a reader needs to judge the figures."""

    date: str
    command: str
    machine: str
    descriptors: int
    rounds: int
    idle_tunnels: int
    stall_s: float


def figures_of(entries: Sequence[Entry]) -> dict[str, Figures]:
    """Medians and ratios by peer; absent peers have none."""
    yardsticks = {entry.peer.key: entry.rounds for entry in entries if entry.peer.key in YARDSTICKS}
    found: dict[str, Figures] = {}
    for entry in entries:
        if entry.rounds:
            stalled = {} if entry.stalled_kib is None else {"stalled_kib": entry.stalled_kib}
            found[entry.peer.key] = with_ratios({**medians(entry.rounds), **stalled}, entry.rounds, yardsticks)
    return found


def markdown(head: Head, entries: Sequence[Entry], verdicts: Sequence[Verdict]) -> str:
    figures = figures_of(entries)
    parts = [
        "# The gateway beside its peers",
        _preface(head),
        "## Bytes and tunnels",
        _table(COLUMNS, entries, figures),
        "## Quiet tunnels and stalled clients",
        _table(QUIET_COLUMNS, entries, figures),
        "## How each was run, and what it cannot do",
        _abilities(entries),
        "## Targets",
        _targets(verdicts),
        _remarks(entries, figures),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_json(head: Head, entries: Sequence[Entry], verdicts: Sequence[Verdict], accounts: Sequence[Account]) -> str:
    figures = figures_of(entries)
    peers = [
        {
            "key": entry.peer.key,
            "version": entry.version,
            "absent": entry.absent or None,
            "as_run": entry.peer.as_run,
            "cannot": entry.peer.cannot,
            "medians": figures.get(entry.peer.key, {}),
            "rounds": [{"figures": of.figures, "notes": of.notes} for of in entry.rounds],
        }
        for entry in entries
    ]
    told = [{"target": of.target, "measured": of.measured, "verdict": of.word} for of in verdicts]
    whole = {**asdict(head), "peers": peers, "targets": told, "accounts": [asdict(of) for of in accounts]}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _preface(head: Head) -> str:
    return (
        f"{head.date}, `{head.command}`: {head.machine}; {head.descriptors:,} descriptors.\n\n"
        f"Medians of {head.rounds} round{'s' if head.rounds > 1 else ''}, in which the gateways take turns; a ratio "
        "is the median of the rounds' own ratios. All is on loopback; each gateway is one process (or one "
        "worker thread), between the same two ends: chips that open tunnels, and a provider that asks for a login and "
        "plays the origin. The ends do not pace what they send; a gateway does as it always does. A set-up is a tunnel "
        "opened, proved by one message there and back, and closed. An echo's figures are each of the quietest of five "
        "parts of its time. CPU is that of all processes of a gateway, user "
        "and system, without the ends. Memory is the growth of its proportional set size; kernel socket buffers are "
        "the same for everyone and not in it. "
        f"{head.idle_tunnels:,} idle tunnels were asked for; clients did not read for "
        f"{head.stall_s:g} s, with 32 MiB waiting for each of 8 tunnels."
    )


def _table(columns: Sequence[Column], entries: Sequence[Entry], figures: dict[str, Figures]) -> str:
    lines = ["| | " + " | ".join(column.head for column in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for entry in entries:
        if entry.absent:
            lines.append(f"| {entry.peer.title} | not measured |" + " |" * (len(columns) - 1))
            continue
        cells = [_cell(column, figures[entry.peer.key]) for column in columns]
        lines.append(f"| {entry.peer.title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(column: Column, own: Figures) -> str:
    value = own.get(ratio_name(column.figure, "haproxy") if column.of_haproxy else column.figure)
    return MISSING if value is None else f"{value:,.{column.digits}f}"


def _abilities(entries: Sequence[Entry]) -> str:
    lines = ["| | version | as it was run | what it cannot do |", "|---|---|---|---|"]
    for entry in entries:
        as_run = f"not measured: {entry.absent}" if entry.absent else entry.peer.as_run
        lines.append(f"| {entry.peer.title} | {entry.version or MISSING} | {as_run} | {entry.peer.cannot or MISSING} |")
    return "\n".join(lines)


def _targets(verdicts: Sequence[Verdict]) -> str:
    lines = ["| | target | measured |", "|---|---|---|"]
    lines += [f"| {verdict.word} | {verdict.target} | {verdict.measured or MISSING} |" for verdict in verdicts]
    return "\n".join(lines)


def _remarks(entries: Sequence[Entry], figures: dict[str, Figures]) -> str:
    lines = [*_control_plane(figures), *_busy_ends(entries, figures)]
    for entry in entries:
        notes = dict.fromkeys(note for of in entry.rounds for note in of.notes)
        lines += [f"- {entry.peer.key}: {note}." for note in notes]
    return "## Remarks\n\n" + "\n".join(lines) if lines else ""


def _control_plane(figures: dict[str, Figures]) -> list[str]:
    ours = figures.get("ours", {})
    if "setup_control_us" not in ours:
        return []
    return [
        f"- PostgreSQL's own CPU beside our gateway: {ours['setup_control_us']:,.0f} µs per tunnel set up, "
        f"{ours.get('bulk_control_s_per_gb', 0):.3f} s per GB with 16 tunnels."
    ]


def _busy_ends(entries: Sequence[Entry], figures: dict[str, Figures]) -> list[str]:
    """Where the figure is a lower bound for the gateway, because an end of the wire had no more to give."""
    lines = []
    for entry in entries:
        own = figures.get(entry.peer.key, {})
        phases = [name for phase, name in PHASES.items() if own.get(f"{phase}_end_busy", 0) > BUSY_END]
        if phases:
            lines.append(f"- {entry.peer.key}: an end of the wire was busy nearly all the time ({', '.join(phases)}).")
    return lines
