"""The figures of several lengths of history beside each other: kept as JSON, shown as Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.scale.measuring import Measured

GROWS: Final = 1.5  # from the shortest history to the longest; less is the noise of a shared machine
MIB: Final = 1 << 20
WORK_NOTE: Final = """\
p50 and p95 are times on the wall; the work is what processors computed, by the median: in this process (routing,
templates, SQLAlchemy) and in PostgreSQL. On a machine that others keep busy, see the load average above, the wall says
as much of them; the work suffers less, though it rises when caches are shared. The monitor runs in a process of its
own, whose work is not counted, only PostgreSQL's for it."""


@dataclass(slots=True)
class Stage:
    """One length of history. ``rows`` of the ledger, ``days`` that they span; ``sizes`` in bytes."""

    rows: int
    days: float
    chips: int
    head: dict[str, str]
    measured: list[Measured] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)


def keep(path: Path, stage: Stage) -> list[Stage]:
    """Adds a stage to those of the file, in place of an older one of its size; returns all, the smallest first."""
    others = [one for one in load(path) if one.rows != stage.rows]
    stages = sorted([*others, stage], key=lambda one: one.rows)
    path.write_text(json.dumps([_plain(one) for one in stages], indent=1) + "\n")
    return stages


def load(path: Path) -> list[Stage]:
    """What earlier runs have kept."""
    if not path.exists():
        return []
    return [_stage(told) for told in json.loads(path.read_text())]


def _plain(stage: Stage) -> dict[str, Any]:
    told = asdict(stage)
    for one in told["measured"]:
        for name in ("times_ms", "work_ms"):
            one[name] = [round(took, 1) for took in one[name]]
    return told


def _stage(told: Mapping[str, Any]) -> Stage:
    measured = [
        Measured(**one | {"times_ms": tuple(one["times_ms"]), "work_ms": tuple(one["work_ms"])})
        for one in told["measured"]
    ]
    return Stage(**dict(told) | {"measured": measured})


def missed(stages: Sequence[Stage]) -> list[str]:
    """What the largest installation took too long for."""
    return [
        f"{one.group}: {one.name}: {one.p95_ms:.0f} ms{_of_work(one)} (at most {one.target_ms:.0f})"
        for stage in stages[-1:]
        for one in stage.measured
        if one.target_ms is not None and one.p95_ms > one.target_ms
    ]


def _of_work(one: Measured) -> str:
    return f", {one.median_work_ms:.0f} ms of it work" if one.median_work_ms is not None else ""


def grown(stages: Sequence[Stage]) -> list[str]:
    """What is more work, or takes longer, with a longer history, by the medians."""
    first = {(one.group, one.name): _typical_ms(one) for one in stages[0].measured}
    return [
        f"{one.group}: {one.name}: {first[one.group, one.name]:.0f} → {_typical_ms(one):.0f} ms"
        for one in stages[-1].measured
        if one.target_ms is not None and _typical_ms(one) > GROWS * first.get((one.group, one.name), _typical_ms(one))
    ]


def _typical_ms(one: Measured) -> float:
    """The work where it is known: it is the same whoever else is on the machine."""
    return one.p50_ms if one.median_work_ms is None else one.median_work_ms


def markdown(stages: Sequence[Stage]) -> str:
    lines = ["# A large installation, by the length of its history", ""]
    lines += [f"- {name}: {value}" for name, value in stages[-1].head.items()]
    lines += [
        "",
        *_table(stages),
        "",
        WORK_NOTE,
        "",
        "## On disk, MiB with indexes",
        "",
        *_sizes(stages),
        "",
        "## Aims",
        "",
    ]
    lines += [f"- MISSED: {one}" for one in missed(stages)] or ["- All are met at the largest size."]
    if len(stages) > 1:
        lines += [f"- GROWS: {one}" for one in grown(stages)] or ["- Nothing grows with the history."]
    return "\n".join(lines) + "\n"


def _table(stages: Sequence[Stage]) -> list[str]:
    head = " | ".join(f"{one.rows:,} rows, {one.days:.0f} days: p50 | p95 | work" for one in stages)
    lines = [f"| milliseconds | aim, p95 | {head} |", "|---|--:|" + "--:|--:|--:|" * len(stages)]
    for one in stages[-1].measured:
        aim = f"{one.target_ms:.0f}" if one.target_ms is not None else ""
        cells = " | ".join(_cells(stage, one) for stage in stages)
        lines.append(f"| {one.group}: `{one.name}` | {aim} | {cells} |")
    return lines


def _cells(stage: Stage, wanted: Measured) -> str:
    found = next((one for one in stage.measured if (one.group, one.name) == (wanted.group, wanted.name)), None)
    if found is None:
        return "– | – | –"
    work = f"{found.median_work_ms:.0f}" if found.median_work_ms is not None else ""
    return f"{found.p50_ms:.0f} | {found.p95_ms:.0f} | {work}"


def _sizes(stages: Sequence[Stage]) -> list[str]:
    lines = ["| table | " + " | ".join(f"{one.rows:,} rows" for one in stages) + " |", "|---|" + "--:|" * len(stages)]
    for name in stages[-1].sizes:
        cells = " | ".join(f"{one.sizes.get(name, 0) / MIB:,.0f}" for one in stages)
        lines.append(f"| {name} | {cells} |")
    return lines
