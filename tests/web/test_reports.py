"""Reports over HTTP: figures, files, and those that a worker makes."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from tests.conftest import SECRET
from tests.factories import TZ, make_user
from tests.reports.ground import AFTER, IN_OCTOBER, MB, OCTOBER, Ground, execute
from tests.web.api_setup import Caller, refused, sign_in
from whago.domain.actions.month_closing import close_month
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.tasks.clock import Clock, Tools, register
from whago.tasks.reports import make_reports
from whago.tasks.upkeep import beat


@pytest.fixture
def ground(app: FastAPI) -> Ground:
    made = Ground()
    made.october()
    return made


@pytest.fixture
def tools(database: str, tmp_path: Path) -> Tools:
    return Tools(Vault([SECRET]), TZ, data_dir=tmp_path)


def rows(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter))


def test_the_month_as_json(admin: Caller, ground: Ground) -> None:
    close_month(OCTOBER, now=AFTER, tz=TZ)
    overview = admin.get("/admin/reports/2026-10").json()
    assert {name: overview[name] for name in ("month", "bytes_used", "cost", "revenue", "margin", "passed")} == {
        "month": "2026-10-01", "bytes_used": 451 * MB, "cost": "9.52", "revenue": "394.00", "margin": "384.48",
        "passed": None,
    }  # fmt: skip
    bia, ana = admin.get("/admin/reports/2026-10/customers").json()["items"]
    assert (bia["name"], bia["billed_cost"], bia["margin"], bia["margin_percent"]) == ("Bia", "6.00", "291.00", 98.0)
    assert (ana["plan_price"], ana["cost"], ana["is_final"]) == ("97.00", "3.52", True)
    chips = admin.get("/admin/reports/2026-10/chips").json()["items"]
    assert [(one["alias"], one["cost"]) for one in chips] == [("b1", "6.00"), ("a1", "3.50"), ("a2", "0.02")]
    prices = admin.get("/admin/reports/2026-10/prices").json()["items"]
    assert sum(one["bytes_used"] for one in prices) == 451 * MB
    providers = admin.get("/admin/reports/2026-10/providers").json()["items"]
    assert {one["cost_per_gb"]: one["cost"] for one in providers} == {"20.00": "8.02", "30.00": "1.50"}


def test_lists_go_on_by_cursor(admin: Caller, ground: Ground) -> None:
    for kind, count in {"customers": 2, "chips": 3, "prices": 4}.items():
        seen: list[Any] = []
        cursor = ""
        while True:
            page = admin.get(f"/admin/reports/2026-10/{kind}?limit=1{cursor}").json()
            seen += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert len(seen) >= count
        assert len({str(one) for one in seen}) == len(seen)
        refused(admin.get(f"/admin/reports/2026-10/{kind}?cursor=x"), 422, "invalid_input")


@pytest.mark.parametrize("month", ["2026-13", "October", "2026-1", "1999-01", "2026-10-01"])
def test_a_month_is_named_as_it_should_be(admin: Caller, owner: Caller, month: str) -> None:
    for path in ("", "/customers", "/customers.csv"):
        refused(admin.get(f"/admin/reports/{month}{path}"), 422, "invalid_input")
    for path in ("", ".csv"):
        refused(owner.get(f"/user/proxy/reports/{month}{path}"), 422, "invalid_input")


def test_every_kind_is_a_file(admin: Caller, ground: Ground) -> None:
    execute("UPDATE users SET name = '+1,2' WHERE id = :id", id=ground.ana.id)
    for kind, lines in {"customers": 2, "chips": 3, "prices": 4, "providers": 2}.items():
        answer = admin.get(f"/admin/reports/2026-10/{kind}.csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert f'filename="whago-{kind}-2026-10.csv"' in answer.headers["content-disposition"]
        found = rows(answer.text)
        assert len(found) >= lines
        assert sum(Decimal(row["cost"]) for row in found) == Decimal("9.52")
    assert {row["customer"] for row in rows(admin.get("/admin/reports/2026-10/chips.csv").text)} == {"'+1,2", "Bia"}
    refused(admin.get("/admin/reports/2026-10/secrets.csv"), 422, "invalid_input")


def test_a_file_for_spreadsheets_speaks_the_reader_s_language(admin: Caller, ground: Ground) -> None:
    path = "/admin/reports/2026-10/customers.csv?sheet=true"
    portuguese = admin.get(path, headers={"Accept-Language": "pt-BR"}).text
    assert {row["Custo (BRL)"] for row in rows(portuguese, ";") if row["Cliente"] in ("Ana", "Bia")} == {"3,52", "6,00"}
    english = admin.get(path, headers={"Accept-Language": "en"}).text
    assert {row["Cost (BRL)"] for row in rows(english) if row["Customer"] in ("Ana", "Bia")} == {"3.52", "6.00"}


def test_a_worker_makes_what_was_asked_for(admin: Caller, ground: Ground, tools: Tools) -> None:
    asked = admin.post("/admin/reports/runs", {"kind": "prices", "month": "2026-10"})
    assert (asked.status_code, asked.json()["state"], asked.json()["percentage"]) == (202, "queued", 0)
    path = f"/admin/reports/runs/{asked.json()['id']}"
    refused(admin.get(f"{path}/file"), 409, "report_not_ready")
    make_reports(tools, clock.now())
    done = admin.get(path).json()
    assert (done["state"], done["percentage"], done["rows_done"], done["rows_total"]) == ("done", 100, 4, 4)
    answer = admin.get(f"{path}/file")
    assert 'filename="whago-prices-2026-10.csv"' in answer.headers["content-disposition"]
    assert answer.text == admin.get("/admin/reports/2026-10/prices.csv").text
    assert [one["id"] for one in admin.get("/admin/reports/runs").json()["items"]] == [done["id"]]
    assert admin.post(f"{path}/cancel").json()["state"] == "done"


def test_a_run_is_its_administrator_s_own(app: FastAPI, admin: Caller, ground: Ground) -> None:
    run = admin.post("/admin/reports/runs", {"kind": "chips", "month": "2026-10"}).json()
    other = sign_in(app, role="admin")
    for method, path in (("GET", ""), ("GET", "/file"), ("POST", "/cancel")):
        refused(other.ask(method, f"/admin/reports/runs/{run['id']}{path}"), 404, "not_found")
    assert other.get("/admin/reports/runs").json()["items"] == []
    assert admin.post(f"/admin/reports/runs/{run['id']}/cancel").json()["state"] == "cancelled"


def test_bad_wishes_are_refused(admin: Caller) -> None:
    for body in ({"kind": "all", "month": "2026-10"}, {"kind": "chips", "month": "2026"}, {"kind": "chips"}):
        refused(admin.post("/admin/reports/runs", body), 422, "invalid_input")
    for number in range(1, 6):
        assert admin.post("/admin/reports/runs", {"kind": "chips", "month": f"2026-0{number}"}).status_code == 202
    refused(admin.post("/admin/reports/runs", {"kind": "chips", "month": "2026-09"}), 429, "report_limit")


def test_customers_have_their_own_month(app: FastAPI, ground: Ground) -> None:
    ana = sign_in(app, plan="business")
    execute("UPDATE chips SET user_id = :new WHERE user_id = :old", new=ana.user.id, old=ground.ana.id)
    for table in ("usage_hours", "chip_usage_months", "user_proxy_costs"):
        execute(f"UPDATE {table} SET user_id = :new WHERE user_id = :old", new=ana.user.id, old=ground.ana.id)
    report = ana.get("/user/proxy/reports/2026-10").json()
    assert (report["bytes_used"], report["billed_cost"], report["plan"], report["is_running"]) == (
        151 * MB, "3.52", "Business", False,
    )  # fmt: skip
    assert [(one["alias"], one["cost"]) for one in report["chips"]] == [("a1", "3.50"), ("a2", "0.02")]
    first = IN_OCTOBER.astimezone(TZ).date()
    assert [(one["day"], one["bytes_used"]) for one in report["days"]] == [
        (str(first), 101 * MB), (str(first + timedelta(days=2)), 50 * MB),
    ]  # fmt: skip
    found = rows(ana.get("/user/proxy/reports/2026-10.csv").text)
    assert [(row["day"], row["alias"], row["bytes_used"], row["cost"]) for row in found] == [
        (str(first), "a1", str(100 * MB), "2.00"),
        (str(first), "a2", str(1 * MB), "0.02"),
        (str(first + timedelta(days=2)), "a1", str(50 * MB), "1.50"),
    ]


def test_nobody_sees_another_s_month(outsider: Caller, admin: Caller, ground: Ground) -> None:
    for caller in (outsider, admin):
        report = caller.get("/user/proxy/reports/2026-10").json()
        assert (report["bytes_used"], report["chips"], report["days"]) == (0, [], [])
        assert rows(caller.get("/user/proxy/reports/2026-10.csv").text) == []


def test_the_clocks_are_shown_with_their_last_success(admin: Caller) -> None:
    register((Clock("quick", 60, beat), Clock("never", 3600, beat)))
    now = clock.now()
    execute("INSERT INTO clock_runs (clock, started_at, ended_at) VALUES ('quick', :now, :now)", now=now)
    quick, never = admin.get("/admin/system/clocks").json()["items"]
    assert (quick["clock"], quick["missed"], quick["is_late"]) == ("quick", "skip", False)
    assert quick["last_success_at"] == now.isoformat().replace("+00:00", "Z")
    assert (never["last_success_at"], never["is_late"]) == (None, True)
    assert admin.get("/admin/system").json()["clocks"][0]["last_success_at"] is not None


def test_months_outside_the_database_are_listed(admin: Caller) -> None:
    make_user()
    execute(
        "INSERT INTO ledger_archives (month_year, state, row_count, total_bytes, total_cost, begun_at)"
        " VALUES ('2026-10-01', 'dropped', 5, 7, 1.5, now())"
    )
    (one,) = admin.get("/admin/reports/archives").json()["items"]
    assert (one["month"], one["state"], one["row_count"], one["total_cost"], one["late_bytes"]) == (
        "2026-10-01", "dropped", 5, "1.50", 0,
    )  # fmt: skip
