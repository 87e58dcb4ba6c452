"""When a day or a month has ended: everybody is told once, wherever the worker was cut off."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SECRET
from tests.factories import TZ, make_chip, make_user
from tests.reports.ground import AFTER, IN_OCTOBER, MB, OCTOBER, Ground, execute
from whago.domain.actions import month_closing
from whago.domain.rules.alert_kinds import REPORT_KINDS, emailed_kinds, kinds_for
from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.kit.languages import LOCALES, Translators
from whago.notify.wording import notice_text
from whago.tasks.clock import Tools
from whago.tasks.months import daily_report, monthly_report


@pytest.fixture
def ground(database: str) -> Ground:
    made = Ground()
    made.october()
    return made


@pytest.fixture
def tools(database: str, tmp_path: Path) -> Tools:
    return Tools(Vault([SECRET]), TZ, data_dir=tmp_path)


def told(kind: str) -> list[tuple[Any, dict[str, Any]]]:
    return execute("SELECT user_id, data FROM notifications WHERE kind = :kind ORDER BY created_at", kind=kind)  # type: ignore[return-value]


def test_customers_with_usage_and_administrators_are_told(ground: Ground, tools: Tools) -> None:
    admin = make_user(role="admin", created_at=IN_OCTOBER)
    make_user("business", name="Quiet", created_at=IN_OCTOBER)
    assert monthly_report(tools, AFTER, OCTOBER) == {"closed": 3, "customers": 2, "admins": 1}
    customers = dict(told("monthly_report"))
    assert customers == {
        ground.ana.id: {
            "month": "2026-10", "used_bytes": 151 * MB, "traffic_cost": "3.52", "plan": "Business", "chips": 2,
        },
        ground.bia.id: {
            "month": "2026-10", "used_bytes": 300 * MB, "traffic_cost": "6.00", "plan": "Enterprise", "chips": 1,
        },
    }  # fmt: skip
    assert told("monthly_summary") == [
        (
            admin.id,
            {
                "month": "2026-10", "used_bytes": 451 * MB, "customers": 2, "traffic_cost": "9.52",
                "plans_cost": "491.00", "left_cost": "481.48",
            },
        )
    ]  # fmt: skip


def test_nobody_is_told_twice(ground: Ground, tools: Tools) -> None:
    make_user(role="admin", created_at=IN_OCTOBER)
    monthly_report(tools, AFTER, OCTOBER)
    again = monthly_report(tools, AFTER + timedelta(hours=1), OCTOBER)
    assert again == {"closed": 0, "customers": 0, "admins": 0}
    assert (len(told("monthly_report")), len(told("monthly_summary"))) == (2, 1)


def test_a_worker_that_is_cut_off_leaves_the_rest_to_the_next(
    ground: Ground, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user(role="admin", created_at=IN_OCTOBER)
    monkeypatch.setattr(month_closing, "CUSTOMERS_PER_STEP", 1)
    tools.stopping.set()
    with pytest.raises(WhagoError):
        monthly_report(tools, AFTER, OCTOBER)
    assert (len(told("monthly_report")), len(told("monthly_summary"))) == (1, 0)
    tools.stopping.clear()
    assert monthly_report(tools, AFTER, OCTOBER) == {"closed": 0, "customers": 1, "admins": 1}
    assert {user for user, _data in told("monthly_report")} == {ground.ana.id, ground.bia.id}


def test_a_customer_who_left_is_not_written_to(ground: Ground, tools: Tools) -> None:
    execute("UPDATE users SET deleted_at = now() WHERE id = :id", id=ground.ana.id)
    execute("UPDATE users SET is_active = false WHERE id = :id", id=ground.bia.id)
    assert monthly_report(tools, AFTER, OCTOBER)["customers"] == 0


def test_administrators_are_told_each_day_what_flowed_on_it(ground: Ground, tools: Tools) -> None:
    make_user(role="admin", created_at=IN_OCTOBER)
    day = IN_OCTOBER.astimezone(TZ).date()
    late = IN_OCTOBER.replace(hour=2) + timedelta(days=1)  # where it is billed it is still that day
    ground.use("a2", 9 * MB, late)
    for _ in range(2):
        daily_report(tools, late + timedelta(hours=3), day)
    ((_user, facts),) = told("daily_summary")
    assert facts == {
        "day": str(day), "used_bytes": 410 * MB, "traffic_cost": "8.200000000000000", "chips": 3, "customers": 2,
    }  # fmt: skip
    daily_report(tools, late + timedelta(hours=3), date(2026, 10, 1))
    assert {facts["day"]: facts["used_bytes"] for _user, facts in told("daily_summary")} == {
        str(day): 410 * MB,
        "2026-10-01": 0,
    }


@pytest.mark.parametrize("language", ["pt-BR", "en"])
def test_every_kind_has_words_for_all_that_it_says(ground: Ground, tools: Tools, language: str) -> None:
    make_user(role="admin", created_at=IN_OCTOBER)
    monthly_report(tools, AFTER, OCTOBER)
    daily_report(tools, AFTER, OCTOBER)
    say = Translators(LOCALES).get(language)
    for kind in REPORT_KINDS:
        for _user, facts in told(kind):
            title, message = notice_text(kind, "info", facts, say, TZ)
            assert "{" not in title + message
            assert message
    amounts = [notice_text("monthly_report", "info", facts, say, TZ)[1] for _user, facts in told("monthly_report")]
    assert any(("R$\u00a03,52" if language == "pt-BR" else "R$3.52") in text for text in amounts)


def test_who_gets_what_by_email_without_asking() -> None:
    assert "monthly_report" in kinds_for(is_admin=False)
    assert {"monthly_summary", "daily_summary"} <= set(kinds_for(is_admin=True))
    assert "daily_summary" not in emailed_kinds()
    assert {"monthly_report", "monthly_summary"} <= set(emailed_kinds())


def test_an_administrator_s_own_chips_pay_no_plan(ground: Ground, tools: Tools) -> None:
    boss = make_user("enterprise", role="admin", name="Boss", created_at=IN_OCTOBER)
    ground.chips["own"] = make_chip(boss, alias="own", now=IN_OCTOBER).chip_id
    execute(
        "INSERT INTO user_proxy_costs (user_id, month_year, total_bytes, total_cost, last_updated)"
        " VALUES (:id, :m, 5, 1, now())",
        id=boss.id, m=OCTOBER,
    )  # fmt: skip
    month_closing.close_month(OCTOBER, now=AFTER, tz=TZ)
    assert execute("SELECT plan_price FROM user_proxy_costs WHERE user_id = :id", id=boss.id) == [(0,)]
