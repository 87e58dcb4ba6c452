"""The page about the product itself shows when each clock last did its work."""

from __future__ import annotations

from datetime import timedelta

from fastapi import FastAPI

from tests.e2e.seeding import make_admin
from tests.reports.ground import execute
from tests.web.page_setup import visitor
from whago.kit import clock


def test_every_clock_shows_its_last_success_beside_its_last_run(app: FastAPI) -> None:
    now = clock.now()
    for started, error in ((now - timedelta(hours=2), None), (now - timedelta(minutes=1), "ValueError: no paper")):
        execute(
            "INSERT INTO clock_runs (clock, started_at, ended_at, error) VALUES ('usage_monitor', :at, :at, :error)",
            at=started,
            error=error,
        )
    execute("INSERT INTO clock_runs (clock, started_at, ended_at, error) VALUES ('bills', now(), now(), 'unavailable')")
    page = visitor(app, make_admin(), "en").get("/admin/system").text
    monitor = page.partition('id="clock-usage_monitor"')[2].partition("</tr>")[0]
    assert "2 hours ago" in monitor
    assert "ValueError: no paper" in monitor
    bills = page.partition('id="clock-bills"')[2].partition("</tr>")[0]
    assert "never" in bills
