"""Reports that a worker makes: in order, with progress, cancelled at any point, kept for a while."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_user
from tests.reports.ground import OCTOBER, Ground, execute
from whago.domain.actions.report_runs import (
    KEEP_FILES,
    KEEP_RUNS,
    OPEN_MAX,
    cancel_report,
    claim_report,
    expire_reports,
    finish_report,
    report_progress,
    request_report,
)
from whago.domain.models import User
from whago.domain.queries import report_files
from whago.domain.queries.report_files import report_csv
from whago.domain.queries.report_runs import report_file, report_run, report_runs
from whago.domain.queries.reports import Reporting
from whago.errors import InvalidInput, WhagoError
from whago.kit.crypto import Vault
from whago.tasks import reports
from whago.tasks.clock import Tools
from whago.tasks.reports import forget_reports, make_reports


@pytest.fixture
def ground(database: str) -> Ground:
    made = Ground()
    made.october()
    return made


@pytest.fixture
def admin(database: str) -> User:
    return make_user(role="admin")


@pytest.fixture
def tools(database: str, tmp_path: Path) -> Tools:
    return Tools(Vault([SECRET]), TZ, data_dir=tmp_path)


def ask(admin: User, kind: str = "chips", language: str | None = None) -> UUID:
    return request_report(admin.id, kind=kind, month=OCTOBER, language=language, now=NOW)


def refused_with(code: str) -> pytest.RaisesExc[WhagoError]:
    return pytest.RaisesExc(WhagoError, check=lambda error: error.code == code)


def test_it_is_made_and_can_be_fetched(ground: Ground, admin: User, tools: Tools) -> None:
    for kind in ("customers", "chips", "prices", "providers"):
        run_id = ask(admin, kind)
        assert report_run(admin.id, run_id).state == "queued"
        assert make_reports(tools, NOW) == {"made": 1}
        run, content = report_file(admin.id, run_id)
        assert (run.state, run.percentage, run.rows_done) == ("done", 100, run.rows_total)
        assert gzip.decompress(content).decode() == "".join(
            text for _count, text in report_csv(kind, Reporting(OCTOBER, NOW, TZ))
        )


def test_in_a_language_it_has_titles_and_the_spreadsheet_s_signs(ground: Ground, admin: User, tools: Tools) -> None:
    run_id = ask(admin, "customers", "pt-BR")
    make_reports(tools, NOW)
    text = gzip.decompress(report_file(admin.id, run_id)[1]).decode()
    assert text.startswith("\ufeffID do cliente;Cliente;")
    assert ";3,52;" in text


def test_the_same_report_is_made_once_however_often_it_is_asked_for(ground: Ground, admin: User, tools: Tools) -> None:
    first = ask(admin)
    assert ask(admin) == first
    assert ask(admin, language="en") != first
    assert ask(make_user(role="admin")) != first
    make_reports(tools, NOW)
    assert ask(admin) != first  # it is done, and this one may hold newer figures


def test_one_administrator_cannot_fill_the_queue(admin: User) -> None:
    months = [OCTOBER.replace(month=number + 1) for number in range(OPEN_MAX + 1)]
    for month in months[:OPEN_MAX]:
        request_report(admin.id, kind="chips", month=month, language=None, now=NOW)
    with refused_with("report_limit"):
        request_report(admin.id, kind="chips", month=months[-1], language=None, now=NOW)
    with pytest.raises(InvalidInput):
        ask(admin, "everything")


def test_nobody_else_sees_or_stops_it(ground: Ground, admin: User, tools: Tools) -> None:
    run_id, other = ask(admin), make_user(role="admin")
    for attempt in (report_run, report_file, lambda actor, run: cancel_report(actor, run, now=NOW)):
        with refused_with("not_found"):
            attempt(other.id, run_id)
    assert report_runs(other.id) == []
    assert [one.id for one in report_runs(admin.id)] == [run_id]


def test_a_cancelled_one_is_never_made(ground: Ground, admin: User, tools: Tools) -> None:
    run_id = ask(admin)
    cancel_report(admin.id, run_id, now=NOW)
    assert make_reports(tools, NOW) == {"made": 0}
    assert report_run(admin.id, run_id).state == "cancelled"
    with refused_with("report_not_ready"):
        report_file(admin.id, run_id)


def test_cancelled_while_it_is_made_it_stops_at_the_next_page(
    ground: Ground, admin: User, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_files, "LINES_PER_PAGE", 1)
    run_id = ask(admin)
    seen = []

    def cancelling(run: UUID, *, rows_done: int, rows_total: int) -> bool:
        seen.append(rows_done)
        if rows_done == 2:
            cancel_report(admin.id, run_id, now=NOW)
        return report_progress(run, rows_done=rows_done, rows_total=rows_total)

    monkeypatch.setattr(reports, "report_progress", cancelling)
    assert make_reports(tools, NOW) == {"made": 0}
    assert seen == [0, 1, 2]
    assert report_run(admin.id, run_id).state == "cancelled"
    assert finish_report(run_id, content=b"", rows=3, now=NOW) is False
    cancel_report(admin.id, run_id, now=NOW)  # again: nothing happens


def test_progress_is_seen_while_it_is_made(
    ground: Ground, admin: User, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_files, "LINES_PER_PAGE", 1)
    run_id = ask(admin, "prices")
    seen = []

    def watched(run: UUID, *, rows_done: int, rows_total: int) -> bool:
        moved = report_progress(run, rows_done=rows_done, rows_total=rows_total)
        view = report_run(admin.id, run_id)
        seen.append((view.state, view.rows_done, view.rows_total, view.percentage))
        return moved

    monkeypatch.setattr(reports, "report_progress", watched)
    make_reports(tools, NOW)
    assert seen == [
        ("running", 0, 4, 0), ("running", 1, 4, 25), ("running", 2, 4, 50), ("running", 3, 4, 75),
        ("running", 4, 4, 99),
    ]  # fmt: skip


def test_one_that_a_killed_worker_left_begins_again(ground: Ground, admin: User, tools: Tools) -> None:
    run_id = ask(admin)
    claim_report(now=NOW)
    report_progress(run_id, rows_done=2, rows_total=3)
    assert make_reports(tools, NOW) == {"made": 1}
    assert report_run(admin.id, run_id).rows_done == 3


def test_a_worker_that_is_told_to_stop_leaves_it_to_the_next(ground: Ground, admin: User, tools: Tools) -> None:
    run_id = ask(admin)
    tools.stopping.set()
    assert make_reports(tools, NOW) == {"made": 0}
    tools.stopping.clear()
    assert make_reports(tools, NOW) == {"made": 1}
    assert report_run(admin.id, run_id).state == "done"


def test_one_that_breaks_does_not_hold_up_the_others(
    ground: Ground, admin: User, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = ask(admin, "chips"), ask(admin, "customers")

    def breaking(kind: str, *rest: object, **more: object) -> object:
        if kind == "chips":
            raise ZeroDivisionError
        return report_csv(kind, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(reports, "report_csv", breaking)
    with pytest.raises(ZeroDivisionError):  # the clock records it
        make_reports(tools, NOW)
    assert make_reports(tools, NOW) == {"made": 1}
    states = {run_id: report_run(admin.id, run_id) for run_id in (broken, good)}
    assert (states[broken].state, states[broken].error, states[good].state) == ("failed", "internal", "done")


def test_one_that_is_too_large_says_so(
    ground: Ground, admin: User, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "FILE_BYTES_MAX", 1)
    run_id = ask(admin)
    make_reports(tools, NOW)
    assert (report_run(admin.id, run_id).state, report_run(admin.id, run_id).error) == ("failed", "report_too_large")


def test_its_file_is_kept_for_a_week_and_its_record_for_two_months(ground: Ground, admin: User, tools: Tools) -> None:
    run_id = ask(admin)
    claim_report(now=NOW)
    finish_report(run_id, content=b"x", rows=1, now=NOW)
    assert expire_reports(now=NOW + KEEP_FILES - timedelta(seconds=1)) == 0
    assert report_file(admin.id, run_id)[1] == b"x"
    assert forget_reports(tools, NOW + KEEP_FILES) == {"expired": 1}
    assert report_run(admin.id, run_id).state == "expired"
    with refused_with("report_not_ready"):
        report_file(admin.id, run_id)
    forget_reports(tools, NOW + KEEP_RUNS + timedelta(seconds=1))
    assert execute("SELECT count(*) FROM report_runs") == [(0,)]
