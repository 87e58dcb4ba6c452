"""Reports that a worker makes: asked for, made, cancelled, kept for a while, forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from whago.domain.models import ReportRun, RunState
from whago.domain.models.reporting import OPEN_STATES
from whago.domain.rules.report_tables import TABLES
from whago.errors import InvalidInput, WhagoError
from whago.kit.db import transaction
from whago.kit.ids import new_id

KEEP_FILES: Final = timedelta(days=7)  # long enough to come back after a weekend; it can be made again at any time
KEEP_RUNS: Final = timedelta(days=60)
OPEN_MAX: Final = 5  # of one administrator: they are made one after another
ERROR_CHARS_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Claimed:
    """A report to make now. ``language`` None: for programs."""

    run_id: UUID
    kind: str
    month: date
    language: str | None


def request_report(actor_id: UUID, *, kind: str, month: date, language: str | None, now: datetime) -> UUID:
    """Asks for a report; the same one that is asked for already is not made twice.

    Raises InvalidInput, WhagoError("report_limit").
    """
    if kind not in TABLES:
        raise InvalidInput(kind="There is no such report.")
    with transaction() as db:
        open_runs = db.scalars(_open_of(actor_id).with_for_update()).all()
        for run in open_runs:
            if (run.kind, run.month_year, run.language) == (kind, month, language):
                return run.id
        if len(open_runs) >= OPEN_MAX:
            raise WhagoError("report_limit", limit=OPEN_MAX)
        run = ReportRun(
            id=new_id(), kind=kind, month_year=month, language=language, requested_by=actor_id, created_at=now
        )
        db.add(run)
        return run.id


def cancel_report(actor_id: UUID, run_id: UUID, *, now: datetime) -> None:
    """Stops it wherever it is; one that has ended already stays as it is. Raises WhagoError("not_found")."""
    with transaction() as db:
        run = _own(db, actor_id, run_id)
        if run.is_open:
            run.state, run.finished_at = RunState.CANCELLED, now


def claim_report(*, now: datetime) -> Claimed | None:
    """The next one. Only one worker makes reports at a time, so one that runs already was cut off: it begins again."""
    with transaction() as db:
        run = db.scalars(
            select(ReportRun)
            .where(ReportRun.state.in_(OPEN_STATES))
            .order_by(ReportRun.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if run is None:
            return None
        run.state, run.started_at, run.rows_done, run.rows_total = RunState.RUNNING, now, 0, None
        return Claimed(run.id, run.kind, run.month_year, run.language)


def report_progress(run_id: UUID, *, rows_done: int, rows_total: int) -> bool:
    """False: it was cancelled meanwhile."""
    with transaction() as db:
        moved = db.execute(
            update(ReportRun)
            .where(ReportRun.id == run_id, ReportRun.state == RunState.RUNNING)
            .values(rows_done=rows_done, rows_total=func.greatest(rows_total, rows_done))
            .returning(ReportRun.id)
        )
        return moved.one_or_none() is not None


def finish_report(run_id: UUID, *, content: bytes, rows: int, now: datetime) -> bool:
    """Keeps the file. False: it was cancelled at the last moment."""
    return _end(
        run_id, state=RunState.DONE, content=content, rows_done=rows, rows_total=rows, finished_at=now,
        expires_at=now + KEEP_FILES,
    )  # fmt: skip


def fail_report(run_id: UUID, *, error: str, now: datetime) -> bool:
    """``error`` is short and holds no secret."""
    return _end(run_id, state=RunState.FAILED, error=error[:ERROR_CHARS_MAX], finished_at=now)


def expire_reports(*, now: datetime) -> int:
    """Removes files that were kept long enough, and the records of long ago; returns how many files."""
    with transaction() as db:
        expired = db.execute(
            update(ReportRun)
            .where(ReportRun.content.is_not(None), ReportRun.expires_at <= now)
            .values(state=RunState.EXPIRED, content=None)
            .returning(ReportRun.id)
        ).all()
        db.execute(delete(ReportRun).where(ReportRun.created_at < now - KEEP_RUNS, ReportRun.state.not_in(OPEN_STATES)))
        return len(expired)


def _end(run_id: UUID, **values: object) -> bool:
    with transaction() as db:
        ended = db.execute(
            update(ReportRun)
            .where(ReportRun.id == run_id, ReportRun.state == RunState.RUNNING)
            .values(**values)
            .returning(ReportRun.id)
        )
        return ended.one_or_none() is not None


def _open_of(actor_id: UUID) -> Select[ReportRun]:
    return select(ReportRun).where(ReportRun.requested_by == actor_id, ReportRun.state.in_(OPEN_STATES))


def _own(db: Session, actor_id: UUID, run_id: UUID) -> ReportRun:
    run = db.scalars(
        select(ReportRun).where(ReportRun.id == run_id, ReportRun.requested_by == actor_id).with_for_update()
    ).one_or_none()
    if run is None:
        raise WhagoError("not_found")
    return run
