"""``python -m benchmarks.monitor``: see ``--help``."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import select

from benchmarks.gateway.machine import describe
from benchmarks.monitor.filling import Installation, Size
from benchmarks.monitor.measuring import Run, run_one
from benchmarks.monitor.results import MONITOR, Stage, markdown, verdicts
from benchmarks.monitor.traffic import Traffic
from whago.domain.actions.clock_runs import begin_run, end_run
from whago.domain.models import ClockRun
from whago.kit import clock, db
from whago.main.embedded import EmbeddedPostgres, private_data_dir
from whago.main.migrate import upgrade
from whago.tasks.table import all_clocks

FOLDER: Final = Path(__file__).parent
ROUNDS: Final = 5
BYTES_PER_ROW: Final = 900  # of ledger, rollups, indexes and the log of writing them, with room to spare
NO_ROOM: Final = 2
MISSED: Final = 1
HISTORY: Final = 10  # how many times longer the second history is


def main() -> int:
    options = _options()
    folder = private_data_dir()
    if shutil.disk_usage(folder).free < options.rows * BYTES_PER_ROW:
        print(f"benchmarks.monitor: {options.rows:,} rows need more disk than is free; use --rows.", file=sys.stderr)
        return NO_ROOM
    head = {
        "machine": describe(),
        "date": f"{clock.now():%Y-%m-%d}",
        "command": f"python -m benchmarks.monitor {' '.join(sys.argv[1:])}".strip(),
        "size": f"{options.chips:,} chips of {Size(options.chips, 0).customers:,} customers, all of them moving bytes;"
        " PostgreSQL as `./whago up` starts it, on a file system that need not be flushed",
    }
    try:
        with EmbeddedPostgres(folder, durable=False) as server:
            stages = _measure(server, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    options.out.write_text(markdown(head, stages))
    for target, measured, holds in verdicts(stages):
        _say(f"{'PASS' if holds else 'FAIL'}: {target} ({measured})")
    return 0 if all(holds for _target, _measured, holds in verdicts(stages)) else MISSED


def _measure(server: EmbeddedPostgres, options: argparse.Namespace) -> list[Stage]:
    upgrade(server.url)
    db.connect(server.url)
    tz = ZoneInfo(options.zone)
    place = Installation(options.chips, clock.now(), tz)
    stages = []
    for rows in (options.rows // HISTORY, options.rows):
        begun = time.perf_counter()
        filled = place.grow(Size(options.chips, rows))
        _say(f"{filled:,} rows of ledger, filled in {time.perf_counter() - begun:.0f} s")
        stages.append(_stage(server, options, tz, filled))
    db.engine().dispose()
    return stages


def _stage(server: EmbeddedPostgres, options: argparse.Namespace, tz: ZoneInfo, filled: int) -> Stage:
    def run(name: str) -> Run:
        done = run_one(name, url=server.url, zone=options.zone, postmaster=server.pid or 0)
        _say(f"  {name}: {done.seconds:.2f} s, {done.peak_mib:.0f} MiB, {done.outcome}")
        _check(name)
        return done

    traffic = Traffic(tz)
    stage = Stage(filled, traffic.move())
    _succeeded_five_minutes_ago()
    stage.first = run(MONITOR)
    for _ in range(options.rounds):
        traffic.move()
        _succeeded_five_minutes_ago()
        stage.monitor.append(run(MONITOR))
    for one in all_clocks():
        if one.name != MONITOR and not options.monitor_only:
            stage.others[one.name] = run(one.name)
    return stage


def _check(clock_name: str) -> None:
    """Figures of an installation in which something does not add up would be figures of repairs."""
    with db.transaction() as tx:
        query = select(ClockRun.counts).where(ClockRun.clock == clock_name).order_by(ClockRun.id.desc()).limit(1)
        counts = tx.scalar(query) or {}
    if counts.get("repaired"):
        raise RuntimeError(f"{clock_name} found {counts['repaired']} differences in what was filled in")


def _succeeded_five_minutes_ago() -> None:
    """So that a run looks at as much as in every day's work; rows older than that are out of its sight."""
    at = clock.now() - timedelta(minutes=5)
    run_id = begin_run(MONITOR, now=at, not_within=timedelta(0))
    if run_id is not None:
        end_run(run_id, counts={}, error=None, now=at)


def _say(line: str) -> None:
    print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="ledger rows of the larger history")
    parser.add_argument("--chips", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of the monitor at each size")
    parser.add_argument("--monitor-only", action="store_true", help="leave the other clocks out")
    parser.add_argument("--zone", default="America/Sao_Paulo")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
