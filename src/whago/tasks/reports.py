"""Reports that take a while: made one after another, with progress, until they are done or cancelled."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Final

import structlog

from whago.domain.actions.report_runs import (
    Claimed,
    claim_report,
    expire_reports,
    fail_report,
    finish_report,
    report_progress,
)
from whago.domain.queries.report_files import report_csv
from whago.domain.queries.reports import Reporting, line_count
from whago.errors import WhagoError
from whago.kit import clock as wall
from whago.kit.languages import LOCALES, Translators
from whago.tasks.clock import Counts, Tools

log = structlog.get_logger()

FILE_BYTES_MAX: Final = 256 * 2**20  # packed; a report of ten million lines, and the most that is held in memory


def make_reports(tools: Tools, _now: datetime) -> Counts:
    """Works off what was asked for. A worker that is told to stop leaves a report to the next one."""
    made = 0
    while not tools.stopping.is_set() and (claimed := claim_report(now=wall.now())) is not None:
        made += _make(claimed, tools)
    return {"made": made}


def forget_reports(_tools: Tools, now: datetime) -> Counts:
    """Files that were kept long enough."""
    return {"expired": expire_reports(now=now)}


def _make(claimed: Claimed, tools: Tools) -> bool:
    asked = Reporting(claimed.month, wall.now(), tools.tz)
    try:
        packed = _packed(claimed, asked, tools)
    except WhagoError as error:
        if error.code == "unavailable":
            raise  # the database is away: the next tick begins again
        fail_report(claimed.run_id, error=error.code, now=wall.now())
        log.warning("report.failed", run=str(claimed.run_id), reason=error.code)
        return False
    except Exception:
        fail_report(claimed.run_id, error="internal", now=wall.now())  # or it would be tried for ever
        raise
    if packed is None:
        return False
    content, rows = packed
    return finish_report(claimed.run_id, content=content, rows=rows, now=wall.now())


def _packed(claimed: Claimed, asked: Reporting, tools: Tools) -> tuple[bytes, int] | None:
    """The file and its lines; None when it was cancelled, or the worker shall end."""
    total = line_count(claimed.kind, asked)
    done = 0
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for lines, text in _pieces(claimed, asked):
            file.write(text.encode())
            done += lines
            if tools.stopping.is_set() or not report_progress(claimed.run_id, rows_done=done, rows_total=total):
                return None
            if buffer.tell() > FILE_BYTES_MAX:
                raise WhagoError("report_too_large")
    return buffer.getvalue(), done


def _pieces(claimed: Claimed, asked: Reporting) -> Iterator[tuple[int, str]]:
    say = _translators().get(claimed.language) if claimed.language is not None else None
    return report_csv(claimed.kind, asked, language=claimed.language, say=say)


@cache
def _translators() -> Translators:
    return Translators(LOCALES)
