"""What the runbook says about reading an archive is true."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from tests.reports.ground import IN_OCTOBER, MB, OCTOBER, Ground
from whago.domain.queries.ledger_export import COLUMNS, ledger_csv
from whago.kit import db

RUNBOOK = Path(__file__).resolve().parents[2] / "docs/runbook/ledger-archives.md"


def test_an_archived_month_can_be_read_into_a_table_of_its_own(database: str, tmp_path: Path) -> None:
    ground = Ground()
    ground.use("a1", 5 * MB, IN_OCTOBER)
    told = re.search(r"\\copy old_usage \((.*?)\)", RUNBOOK.read_text())
    assert told is not None
    assert tuple(told[1].split(", ")) == COLUMNS
    packed = tmp_path / "month.csv.gz"
    packed.write_bytes(gzip.compress(b"".join(ledger_csv(OCTOBER))))
    with db.transaction() as tx:
        connection = tx.connection().connection.driver_connection
        assert connection is not None
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE old_usage (LIKE proxy_usage_logs) ON COMMIT DROP")
            with cursor.copy(f"COPY old_usage ({told[1]}) FROM STDIN CSV HEADER") as copy:
                copy.write(gzip.decompress(packed.read_bytes()))
            cursor.execute("SELECT count(*), sum(bytes_transferred), min(hour) FROM old_usage")
            assert cursor.fetchone() == (1, 5 * MB, IN_OCTOBER)
