"""Old months of the ledger leave the database only as a proved file, and no bill or report ever notices."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.conftest import SECRET
from tests.factories import TZ
from tests.reports.ground import AFTER, IN_NOVEMBER, IN_OCTOBER, MB, NOVEMBER, OCTOBER, Ground, execute
from whago.domain.actions import retention as actions
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.monitor import check_usage
from whago.domain.actions.month_closing import close_month
from whago.domain.models.usage import ensure_partition, forget_partitions
from whago.domain.queries.report_files import report_csv
from whago.domain.queries.reports import Reporting, month_overview
from whago.domain.rules.report_tables import TABLES
from whago.errors import WhagoError
from whago.kit import db
from whago.kit.crypto import Vault
from whago.kit.ids import new_id
from whago.tasks.clock import Tools
from whago.tasks.retention import FOLDER, Retention

PARTITION = "proxy_usage_logs_2026_10"
LATER = IN_OCTOBER + timedelta(days=120)  # February: with two months kept, October is old


LEDGER_MONTHS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'proxy_usage_logs'::regclass"


@pytest.fixture
def ground(database: str) -> Iterator[Ground]:
    with db.transaction() as tx:  # months that other tests have used are none of these tests' business
        for name in tx.scalars(text(LEDGER_MONTHS)).all():
            tx.execute(text(f"DROP TABLE {name}"))
    forget_partitions()
    made = Ground()
    made.october()
    made.use("a1", 7 * MB, IN_NOVEMBER)
    close_month(OCTOBER, now=AFTER, tz=TZ)
    close_month(NOVEMBER, now=IN_NOVEMBER + timedelta(days=20), tz=TZ)
    yield made
    with db.transaction() as tx:  # what the tests drop, others may need
        tx.connection().exec_driver_sql("SELECT 1")
        for month in (OCTOBER, NOVEMBER):
            _stand_again(tx, month)


def _stand_again(tx: Any, month: date) -> None:
    from whago.domain.models import usage

    usage._known_partitions.discard(month)
    ensure_partition(tx, month)


@pytest.fixture
def tools(database: str, tmp_path: Path) -> Tools:
    return Tools(Vault([SECRET]), TZ, data_dir=tmp_path, ledger_months=2)


def archive(tools: Tools, **how: Any) -> dict[str, int]:
    return dict(Retention(**({"free_bytes_min": 0} | how)).archive(tools, LATER))


def files(tools: Tools) -> list[str]:
    assert tools.data_dir is not None
    folder = tools.data_dir / FOLDER
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def rows_of(tools: Tools, name: str) -> list[dict[str, str]]:
    assert tools.data_dir is not None
    with gzip.open(tools.data_dir / FOLDER / name, "rt", newline="") as file:
        return list(csv.DictReader(file))


def partitions() -> set[str]:
    return {name for (name,) in execute("SELECT inhrelid::regclass::text FROM pg_inherits")}


def states() -> dict[date, str]:
    return dict(execute("SELECT month_year, state FROM ledger_archives ORDER BY 1"))  # type: ignore[arg-type]


def bills(month: date = OCTOBER) -> dict[str, Any]:
    """Everything that a closed month is ever asked for."""
    asked = Reporting(month, LATER, TZ)
    found: dict[str, Any] = {kind: "".join(text for _, text in report_csv(kind, asked)) for kind in TABLES}
    found["overview"] = month_overview(asked)
    found["months"] = execute("SELECT * FROM user_proxy_costs WHERE month_year = :m ORDER BY id", m=month)
    found["proxies"] = execute("SELECT id, total_bytes_used FROM proxies ORDER BY id")
    return found


def test_a_dropped_month_bills_and_reports_the_same(ground: Ground, tools: Tools) -> None:
    before, november = bills(), bills(NOVEMBER)
    ledger = execute(f"SELECT count(*), sum(bytes_transferred), sum(cost) FROM {PARTITION}")
    assert archive(tools) == {"exported": 2, "dropped": 2}
    assert PARTITION not in partitions()
    assert (bills(), bills(NOVEMBER)) == (before, november)
    rows = rows_of(tools, f"{PARTITION}.csv.gz")
    total = sum(int(row["bytes_transferred"]) for row in rows)
    assert [(len(rows), total, sum(Decimal(row["cost"]) for row in rows))] == ledger
    assert total == 451 * MB
    assert states() == {OCTOBER: "dropped", NOVEMBER: "dropped"}


def test_the_monitor_has_nothing_to_say_about_it(ground: Ground, tools: Tools) -> None:
    archive(tools)
    before = bills()
    assert check_usage(since=None, now=LATER, tz=TZ).repaired == []
    assert check_usage(since=LATER, now=LATER, tz=TZ).repaired == []
    assert bills() == before


def test_the_months_to_keep_stay(ground: Ground, tools: Tools) -> None:
    now = IN_NOVEMBER + timedelta(days=30)  # December: November is one of the two
    assert actions.months_to_archive(keep_months=2, now=now, tz=TZ) == [OCTOBER]
    assert actions.months_to_archive(keep_months=1, now=now, tz=TZ) == [OCTOBER]  # never the monitor's own
    assert actions.months_to_archive(keep_months=3, now=now, tz=TZ) == []


def test_a_month_whose_bill_is_not_fixed_stays(ground: Ground, tools: Tools) -> None:
    execute("UPDATE user_proxy_costs SET closed_at = NULL WHERE month_year = :m AND total_bytes > 0", m=OCTOBER)
    assert archive(tools) == {"exported": 1, "dropped": 1}
    assert PARTITION in partitions()


def test_a_month_whose_totals_are_not_its_ledger_stays(ground: Ground, tools: Tools) -> None:
    execute("UPDATE usage_price_months SET total_bytes = total_bytes + 1 WHERE month_year = :m", m=OCTOBER)
    with pytest.raises(WhagoError) as refused:
        archive(tools)
    assert (refused.value.code, refused.value.details) == ("ledger_differs", {"month": "2026-10"})
    assert PARTITION in partitions()
    assert states() == {NOVEMBER: "dropped"}  # which need not wait for it


def test_without_room_nothing_is_dropped_and_nothing_is_left_behind(ground: Ground, tools: Tools) -> None:
    with pytest.raises(WhagoError) as refused:
        archive(tools, free_bytes_min=2**62)
    assert refused.value.code == "disk_full"
    assert (PARTITION in partitions(), files(tools), states()) == (True, [], {OCTOBER: "exporting"})
    assert archive(tools) == {"exported": 2, "dropped": 2}


def test_a_disk_that_is_full_while_writing_drops_nothing(ground: Ground, tools: Tools) -> None:
    """The kernel itself refuses to let the file grow."""
    url = db.engine().url.render_as_string(hide_password=False)
    program = [sys.executable, "-m", "tests.reports.full_disk", url, str(tools.data_dir)]
    told = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True).stdout
    assert told.splitlines()[-1] == "disk_full"
    assert (PARTITION in partitions(), files(tools)) == (True, [])
    assert archive(tools) == {"exported": 2, "dropped": 2}


def test_a_worker_that_is_told_to_stop_leaves_a_month_that_the_next_one_finishes(ground: Ground, tools: Tools) -> None:
    before = bills()
    tools.stopping.set()
    assert archive(tools) == {"exported": 0, "dropped": 0}
    assert (files(tools), states()) == ([], {OCTOBER: "exporting"})
    tools.stopping.clear()
    assert archive(tools) == {"exported": 2, "dropped": 2}
    assert bills() == before


def test_half_a_file_of_a_killed_worker_is_written_anew(ground: Ground, tools: Tools) -> None:
    assert tools.data_dir is not None
    folder = tools.data_dir / FOLDER
    folder.mkdir()
    actions.begin_archive(OCTOBER, now=LATER)
    (folder / f"{PARTITION}.csv.part").write_bytes(b"half of it")
    assert archive(tools) == {"exported": 2, "dropped": 2}
    assert files(tools) == [f"{PARTITION}.csv.gz", "proxy_usage_logs_2026_11.csv.gz"]
    assert len(rows_of(tools, f"{PARTITION}.csv.gz")) == 5


def test_killed_between_export_and_drop_it_does_not_export_again(
    ground: Ground, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drop is cut off; the file that stands is the one that counts."""
    with monkeypatch.context() as patch:
        patch.setattr("whago.tasks.retention.drop_month", _killed)
        with pytest.raises(KeyboardInterrupt):
            archive(tools)
    assert states() == {OCTOBER: "exported"}
    assert tools.data_dir is not None
    path = tools.data_dir / FOLDER / f"{PARTITION}.csv.gz"
    written = path.stat().st_mtime_ns
    assert archive(tools) == {"exported": 1, "dropped": 2}  # November's only
    assert path.stat().st_mtime_ns == written


def _killed(*_: object, **__: object) -> bool:
    raise KeyboardInterrupt


@pytest.mark.parametrize("harm", ["lost", "cut short"])
def test_a_file_that_is_not_whole_any_more_is_exported_again(
    ground: Ground, tools: Tools, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("whago.tasks.retention.drop_month", _killed)
        with pytest.raises(KeyboardInterrupt):
            archive(tools)
    assert tools.data_dir is not None
    path = tools.data_dir / FOLDER / f"{PARTITION}.csv.gz"
    whole = path.read_bytes()
    path.unlink() if harm == "lost" else os.truncate(path, len(whole) - 10)
    assert archive(tools) == {"exported": 2, "dropped": 2}
    assert path.read_bytes() == whole
    known = execute("SELECT sha256 FROM ledger_archives WHERE month_year = :m", m=OCTOBER)
    assert known == [(hashlib.sha256(whole).hexdigest(),)]


def test_what_comes_between_export_and_drop_is_in_the_file_before_the_drop(ground: Ground, tools: Tools) -> None:
    actions.begin_archive(OCTOBER, now=LATER)
    actions.keep_export(
        OCTOBER, file_name="x", sha256="x", sums=actions.LedgerSums(5, 451 * MB, Decimal("9.52")), now=LATER
    )
    assert ground.use("b1", 3 * MB, now=LATER) == 3 * MB  # late, but its ledger stands
    assert actions.drop_month(OCTOBER, now=LATER) is False
    assert PARTITION in partitions()
    assert archive(tools)["dropped"] == 2
    assert sum(int(row["bytes_transferred"]) for row in rows_of(tools, f"{PARTITION}.csv.gz")) == 454 * MB


def test_a_report_for_a_month_that_is_gone_changes_no_bill(ground: Ground, tools: Tools) -> None:
    """A gateway that comes back after years replays its counter file: nobody can tell what is new in it."""
    archive(tools)
    before = bills()
    assert ground.use("a1", 100 * MB, tunnel=1, now=LATER) == 0
    other = new_id()
    register_boot(other, host="h", pid=2, port=2, now=LATER)
    assert ground.use("b1", 5 * MB, boot=other, now=LATER) == 0
    assert bills() == before
    assert PARTITION not in partitions()
    late = execute("SELECT late_reports, late_bytes FROM ledger_archives WHERE month_year = :m", m=OCTOBER)
    assert late == [(2, 105 * MB)]


def test_one_report_may_hold_rows_of_both(ground: Ground, tools: Tools) -> None:
    from whago.domain.actions.record_usage import record_usage

    archive(tools)
    usages = [
        ground.usage("b1", 5 * MB, IN_OCTOBER, price_id=None, tunnel=90),
        ground.usage("b1", 4 * MB, LATER, price_id=None, tunnel=91),
    ]
    assert record_usage(ground.boot, usages, now=LATER, tz=TZ, open_tunnels=1) == 4 * MB


def test_a_ledger_that_reports_hold_is_left_for_later(ground: Ground, tools: Tools, monkeypatch: Any) -> None:
    monkeypatch.setattr(actions, "DROP_WAIT_S", 1)
    held, leave = threading.Event(), threading.Event()

    def report() -> None:
        with db.transaction() as tx:
            tx.connection().exec_driver_sql("LOCK TABLE proxy_usage_logs IN ROW EXCLUSIVE MODE")
            held.set()
            assert leave.wait(60)

    thread = threading.Thread(target=report)
    thread.start()
    try:
        assert held.wait(60)
        assert archive(tools) == {"exported": 2, "dropped": 0}
        assert states() == {OCTOBER: "exported", NOVEMBER: "exported"}
    finally:
        leave.set()
        thread.join(60)
    assert archive(tools) == {"exported": 0, "dropped": 2}


def test_the_files_are_nobody_else_s(ground: Ground, tools: Tools) -> None:
    archive(tools)
    assert tools.data_dir is not None
    assert (tools.data_dir / FOLDER).stat().st_mode & 0o077 == 0
