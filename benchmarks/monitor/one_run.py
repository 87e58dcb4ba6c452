"""One run of one clock in a process of its own: prints its seconds, its peak memory and what it counted, as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import text

from whago.kit import db, log
from whago.kit.crypto import Vault
from whago.tasks import usage
from whago.tasks.clock import Clock, Tools, run_clock
from whago.tasks.metrics import ClockMetrics


def main() -> None:
    name, zone = sys.argv[1:]
    log.configure("json", "benchmark")
    db.connect(os.environ["BENCH_DATABASE_URL"])
    clock = replace(_clock(name), every_s=0)
    tools = Tools(Vault(["benchmark-secret-key-of-32-characters"]), ZoneInfo(zone))
    with db.transaction() as tx:
        tx.execute(text("SELECT 1"))  # connected before the watch starts, as a worker is
    metrics = ClockMetrics()
    resting = _peak_kib()
    begun = time.perf_counter()
    outcome = run_clock(clock, tools, metrics)
    seconds = time.perf_counter() - begun
    told = {"outcome": outcome.value, "seconds": seconds, "peak_kib": _peak_kib(), "resting_kib": resting}
    print(json.dumps(told))


def _clock(name: str) -> Clock:
    """The monitor alone, so that its process holds no other clock's code; any other from the table."""
    if name == usage.MONITOR:
        return Clock(name, every_s=0, work=usage.monitor)
    from whago.tasks.table import all_clocks

    return next(one for one in all_clocks() if one.name == name)


def _peak_kib() -> int:
    """Of this program alone: ``ru_maxrss`` would still hold what its parent was at the fork."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


if __name__ == "__main__":
    main()
