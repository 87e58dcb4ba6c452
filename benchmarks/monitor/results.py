"""The figures as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.monitor.measuring import Run

MONITOR: Final = "usage_monitor"
AUDIT: Final = "usage_audit"
LIMIT_S: Final = 2.0
LIMIT_MIB: Final = 100.0
SLOWER: Final = 1.25  # runs of a quarter of a second differ by as much on a shared machine


@dataclass(slots=True)
class Stage:
    """What was measured at one size of the ledger. ``first``: the monitor's run without any checkpoint."""

    ledger_rows: int
    moved: int
    monitor: list[Run] = field(default_factory=list)
    first: Run | None = None
    others: dict[str, Run] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return median(run.seconds for run in self.monitor)

    @property
    def peak_mib(self) -> float:
        return max(run.peak_mib for run in self.monitor)

    @property
    def resting_mib(self) -> float:
        return max(run.resting_mib for run in self.monitor)

    @property
    def server_mib(self) -> float:
        return max(run.server_mib for run in self.monitor)


def verdicts(stages: Sequence[Stage]) -> list[tuple[str, str, bool]]:
    """Target, what was measured, whether it holds."""
    small, large = stages[0], stages[-1]
    return [
        (f"the monitor takes at most {LIMIT_S:g} s", f"{large.seconds:.2f} s", large.seconds <= LIMIT_S),
        (f"its process stays below {LIMIT_MIB:g} MB", f"{large.peak_mib:.0f} MiB", large.peak_mib <= LIMIT_MIB),
        (
            "not slower at ten times the history",
            f"{small.seconds:.2f} s → {large.seconds:.2f} s",
            large.seconds <= small.seconds * SLOWER,
        ),
    ]


MONITOR_NOTE: Final = """\
Each run is a process of its own, after every chip has moved bytes again through the real `record_usage`. The first run
ever finds no checkpoint of any chip and adds up each one's month, once. The ledger's hours are the newest ones, so most
of it is in months that are still open: the monitor leaves little out for its age."""
OTHERS_NOTE: Final = """\
All of the table, with their code in one process. `usage_audit` is the one that looks at everything: once a night it
adds up both open months, fifty customers at a time; it grows with these months, not with those before. `exit_ips` and
`health` wait for upstreams that are not there. A calendar clock that has done its period is `not_due`."""


def markdown(head: Mapping[str, str], stages: Sequence[Stage]) -> str:
    lines = ["# The clocks on a large installation", ""]
    lines += [f"- {name}: {value}" for name, value in head.items()]
    lines += [
        "",
        "## The usage monitor",
        "",
        *_monitor(stages),
        "",
        MONITOR_NOTE,
        "",
        "## Targets",
        "",
        *_targets(stages),
    ]
    lines += ["", "## Every clock, one run each", "", *_others(stages), "", OTHERS_NOTE, ""]
    return "\n".join(lines)


def _monitor(stages: Sequence[Stage]) -> list[str]:
    lines = [
        "| ledger rows | rows that moved | median of runs, s | all runs, s | peak of its process, MiB"
        " | at rest, MiB"
        " | largest PostgreSQL process, MiB | first run ever, s |",
        "|--:|--:|--:|---|--:|--:|--:|--:|",
    ]
    for one in stages:
        runs = ", ".join(f"{run.seconds:.2f}" for run in one.monitor)
        first = f"{one.first.seconds:.2f}" if one.first is not None else ""
        lines.append(
            f"| {one.ledger_rows:,} | {one.moved:,} | {one.seconds:.2f} | {runs} | {one.peak_mib:.0f}"
            f" | {one.resting_mib:.0f} | {one.server_mib:.0f} | {first} |"
        )
    return lines


def _targets(stages: Sequence[Stage]) -> list[str]:
    return [f"- {'PASS' if holds else 'FAIL'}: {target} ({measured})" for target, measured, holds in verdicts(stages)]


def _others(stages: Sequence[Stage]) -> list[str]:
    head = " | ".join(f"{one.ledger_rows:,} rows: s | MiB" for one in stages)
    lines = [f"| clock | {head} |", "|---|" + "--:|--:|" * len(stages)]
    for name in stages[0].others:
        cells = " | ".join(_cells(one.others[name]) for one in stages)
        lines.append(f"| {name} | {cells} |")
    return lines


def _cells(run: Run) -> str:
    told = "" if run.outcome == "done" else f" ({run.outcome})"
    return f"{run.seconds:.2f}{told} | {run.peak_mib:.0f}"
