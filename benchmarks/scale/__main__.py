"""``python -m benchmarks.scale``: see ``--help``.

Fills and measures, one length of history after the other; the newest hours come first, so that every length is the same
installation with a longer past. ``results.json`` and ``results.md`` are written after each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from sqlalchemy import text

from benchmarks.gateway.machine import describe
from benchmarks.scale.filling import Place, Size
from benchmarks.scale.measuring import measure, sizes
from benchmarks.scale.results import Stage, keep, markdown, missed
from benchmarks.scale.server import FillingPostgres, MeasuredPostgres
from whago.domain.actions.usage_days import roll_days
from whago.kit import clock, db
from whago.kit.collector import spare_the_collector
from whago.main.embedded import private_data_dir
from whago.main.migrate import upgrade
from whago.main.reach import CLOSED_FOLDER

HERE: Final = Path(__file__).parent
BYTES_PER_ROW: Final = 600  # of ledger, rollups, indexes and log
NO_ROOM: Final = 2
MISSED: Final = 1
NICENESS: Final = 15  # of filling: it takes what others leave
ROUNDS: Final = 20  # of each measurement: then p95 is the second worst


def main() -> int:
    options = _options()
    folder = options.folder or private_data_dir()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(CLOSED_FOLDER)
    wanted = int(options.rows * max(options.parts) * BYTES_PER_ROW)
    if not (folder / "cluster").exists() and shutil.disk_usage(folder).free < wanted:
        print(f"benchmarks.scale: {options.rows:,} rows need more disk than is free; use --rows.", file=sys.stderr)
        return NO_ROOM
    try:
        stages = [stage for part in sorted(options.parts) for stage in _stage(folder, part, options)]
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    for one in missed(stages):
        _say(f"MISSED: {one}")
    return MISSED if missed(stages) else 0


def _stage(folder: Path, part: float, options: argparse.Namespace) -> list[Stage]:
    tz = ZoneInfo(options.zone)
    place = Place(Size(options.chips, options.customers, options.months, options.rows), clock.now(), tz, options.seed)
    with _nicely(FillingPostgres(folder)) as server:
        upgrade(server.url)
        db.connect(server.url, statement_timeout_ms=0)
        began = time.perf_counter()
        _fill(place, part)
        rows, filled_s = place.rows, time.perf_counter() - began
        db.engine().dispose()
    _say(f"{rows:,} rows of ledger, after {filled_s:.0f} s")
    if options.fill_only:
        return []
    head = {
        "machine": describe(),
        "date": f"{clock.now():%Y-%m-%d}",
        "command": f"python -m benchmarks.scale {' '.join(sys.argv[1:])}".strip(),
        "size": f"{options.chips:,} chips of {options.customers:,} customers (the largest has"
        f" {options.chips / options.customers**0.5:,.0f}), each with four tunnels in every {place.stride}th hour",
        "measured": f"{options.rounds} times each, in this process, with PostgreSQL's commits waiting for the disk",
    }
    stage = Stage(rows, place.hours / 24, options.chips, head)
    with MeasuredPostgres(folder) as own:
        db.connect(own.url)
        roll_days(now=clock.now(), tz=tz)
        stage.sizes = sizes()
        spare_the_collector()
        for one in measure(own.url, own.pid or 0, tz, options.rounds):
            _say(f"  {one.group}: {one.name}: {one.p50_ms:.0f} ms, 95 %: {one.p95_ms:.0f} ms")
            stage.measured.append(one)
        db.engine().dispose()
    stages = keep(options.out / "results.json", stage)
    (options.out / "results.md").write_text(markdown(stages))
    return stages


def _nicely(server: FillingPostgres) -> FillingPostgres:
    """Started, and where others go first."""
    server.start()
    os.setpriority(os.PRIO_PROCESS, server.pid or 0, NICENESS)  # whatever connects from now on is its child
    return server


def _fill(place: Place, part: float) -> None:
    with db.reading() as tx:
        is_made = tx.scalar(text("SELECT to_regclass('bench_hours')")) is not None
    if is_made:
        place.resume()
    else:
        place.make()
    place.grow(round(place.all_hours * part))


def _say(line: str) -> None:
    print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--chips", type=int, default=100_000)
    parser.add_argument("--customers", type=int, default=2_000)
    parser.add_argument("--months", type=int, default=13, help="billing months of history, the present one included")
    parser.add_argument("--rows", type=int, default=100_000_000, help="ledger rows of the whole history")
    parser.add_argument(
        "--parts", type=float, nargs="+", default=[0.01, 0.1, 1.0], help="of the history, to measure at"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--folder", type=Path, help="keeps the filled database there, and goes on with one that is there"
    )
    parser.add_argument("--fill-only", action="store_true", help="with --folder: measure another time")
    parser.add_argument("--seed", default="whago")
    parser.add_argument("--zone", default="America/Sao_Paulo")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.json and results.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
