"""``python -m benchmarks.pages``: how long the server works on each page, in a small and in a large installation.

Every page is asked of the application in this process, without a network: what is measured is routing, queries,
templates and compression. A page that must not grow with the installation shows it by its ratio.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from benchmarks.gateway.machine import describe
from benchmarks.pages.filling import DAYS, Size, fill, keep_house
from benchmarks.pages.walking import ADMIN_PAGES, CUSTOMER_PAGES, Visits, administrator, busiest, walk
from whago.domain.actions.exit_ip_lives import measure_exit_ip_lives
from whago.domain.actions.exit_ips import roll_exit_ip_days
from whago.domain.actions.usage_days import roll_days
from whago.kit import clock, db
from whago.main.embedded import EmbeddedPostgres, private_data_dir
from whago.main.migrate import upgrade

FOLDER: Final = Path(__file__).parent
ZONE: Final = "America/Sao_Paulo"
SMALL: Final = Size(chips=50, hours_a_day=8)
TARGET_MS: Final = 100.0
MISSED: Final = 1


def main() -> int:
    options = _options()
    large = Size(options.chips, options.hours)
    small, big = (_measured(size, options.rounds) for size in (SMALL, large))
    options.out.write_text(_markdown(small, big, large, options))
    for one in big:
        _say(f"{'PASS' if one.median_ms <= TARGET_MS else 'FAIL'}: {one.page} {one.median_ms:.0f} ms")
    return 0 if all(one.median_ms <= TARGET_MS for one in big) else MISSED


def _measured(size: Size, rounds: int) -> list[Visits]:
    folder, tz = private_data_dir(), ZoneInfo(ZONE)
    try:
        with EmbeddedPostgres(folder, durable=False) as server:
            upgrade(server.url)
            engine = db.connect(server.url)
            began = time.monotonic()
            fill(size, ZONE)
            roll_days(now=clock.now(), tz=tz)  # as the worker's clocks do
            roll_exit_ip_days(now=clock.now(), tz=tz)
            measure_exit_ip_lives(now=clock.now())
            keep_house()
            _say(f"{size.chips:,} chips written in {time.monotonic() - began:.0f} s")
            try:
                return [*walk(busiest(), CUSTOMER_PAGES, rounds, tz), *walk(administrator(), ADMIN_PAGES, rounds, tz)]
            finally:
                engine.dispose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _markdown(small: Sequence[Visits], big: Sequence[Visits], size: Size, options: argparse.Namespace) -> str:
    hours = size.chips * size.hours_a_day * DAYS
    lines = [
        "# Pages",
        "",
        f"{describe()}. `python -m benchmarks.pages --chips {options.chips} --hours {options.hours}"
        f" --rounds {options.rounds}`, {clock.now():%Y-%m-%d}.",
        "",
        f"{size.chips:,} chips of {size.customers:,} customers with {hours:,} hours of usage behind them, beside"
        f" {SMALL.chips} chips of one customer. Median of {options.rounds} visits, in the process itself; the browser's"
        " work and the network come on top.",
        "",
        f"| page | {SMALL.chips} chips | {size.chips:,} chips | worst | ratio | on the wire |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for one, other in zip(small, big, strict=True):
        lines.append(
            f"| `{other.page}` | {one.median_ms:.0f} ms | {other.median_ms:.0f} ms | {other.worst_ms:.0f} ms"
            f" | {other.median_ms / one.median_ms:.1f} | {other.compressed_bytes / 1000:.1f} kB |"
        )
    slow = [one.page for one in big if one.median_ms > TARGET_MS]
    lines += ["", f"Within {TARGET_MS:.0f} ms: {len(big) - len(slow)} of {len(big)}."]
    return "\n".join(lines + ([f"Slower: {', '.join(slow)}."] if slow else [])) + "\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--chips", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=8, help="hours of each day in which every chip moves bytes")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=FOLDER / "results.md")
    return parser.parse_args()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
