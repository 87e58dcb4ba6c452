"""Reports that an administrator asked for: how far they are, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select

from whago.domain.models import ReportRun, RunState
from whago.errors import WhagoError
from whago.kit.db import reading

RUNS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class RunView:
    """``rows_total`` is None until it is known; ``expires_at``: until when the file is kept."""

    id: UUID
    kind: str
    month: date
    language: str | None
    state: str
    rows_done: int
    rows_total: int | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None

    @property
    def is_open(self) -> bool:
        return self.state in (RunState.QUEUED, RunState.RUNNING)

    @property
    def percentage(self) -> int:
        if self.state == RunState.DONE:
            return 100
        return min(99, self.rows_done * 100 // self.rows_total) if self.rows_total else 0


_COLUMNS: Final[tuple[Any, ...]] = (
    ReportRun.id,
    ReportRun.kind,
    ReportRun.month_year,
    ReportRun.language,
    ReportRun.state,
    ReportRun.rows_done,
    ReportRun.rows_total,
    ReportRun.error,
    ReportRun.created_at,
    ReportRun.started_at,
    ReportRun.finished_at,
    ReportRun.expires_at,
)


def report_runs(actor_id: UUID) -> Sequence[RunView]:
    """The administrator's own, the latest first."""
    query = (
        select(*_COLUMNS)
        .where(ReportRun.requested_by == actor_id)
        .order_by(ReportRun.created_at.desc(), ReportRun.id)
        .limit(RUNS_SHOWN)
    )
    with reading() as db:
        return [RunView(*row) for row in db.execute(query)]


def report_run(actor_id: UUID, run_id: UUID) -> RunView:
    """Raises WhagoError("not_found")."""
    with reading() as db:
        row = db.execute(
            select(*_COLUMNS).where(ReportRun.id == run_id, ReportRun.requested_by == actor_id)
        ).one_or_none()
    if row is None:
        raise WhagoError("not_found")
    return RunView(*row)


def report_file(actor_id: UUID, run_id: UUID) -> tuple[RunView, bytes]:
    """The gzipped CSV. Raises WhagoError: not_found, report_not_ready."""
    run = report_run(actor_id, run_id)
    with reading() as db:
        content = db.scalar(select(ReportRun.content).where(ReportRun.id == run_id))
    if content is None:
        raise WhagoError("report_not_ready", state=run.state)
    return run, content
