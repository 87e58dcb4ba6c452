"""A worker process with quick clocks, for tests that kill it. Arguments: database URL, broker URL, status port, mark.

Its clock ``slow`` hangs in its first run, until the worker is told to stop; the mark is the file by which it knows.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.conftest import SECRET
from whago.kit import db
from whago.kit import log as logging
from whago.kit.crypto import Vault
from whago.tasks.app import make_app
from whago.tasks.clock import Clock, Counts, Tools
from whago.tasks.metrics import ClockMetrics
from whago.tasks.status import StatusListener
from whago.tasks.upkeep import beat
from whago.tasks.worker import serve


def main() -> int:
    database_url, broker_url, port, mark = sys.argv[1:]
    logging.configure("json", "worker")
    db.connect(database_url)

    def slow(tools: Tools, _now: datetime) -> Counts:
        if Path(mark).exists():
            return {"finished": 1}
        Path(mark).touch()
        tools.stopping.wait(120)
        return {}

    tools = Tools(Vault([SECRET]), ZoneInfo("America/Sao_Paulo"))
    clocks = (Clock("heartbeat", every_s=1, work=beat, at_start=True), Clock("slow", every_s=3600, work=slow))
    metrics = ClockMetrics()
    app = make_app(broker_url, clocks, tools, metrics, visibility_timeout_s=3, restore_every_s=1)
    with StatusListener(metrics, int(port)):
        return serve(app, clocks, tools, metrics)


if __name__ == "__main__":
    sys.exit(main())
