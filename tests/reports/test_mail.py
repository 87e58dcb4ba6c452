"""The monthly e-mail arrives at a real mail server, once, also when the worker was killed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SECRET
from tests.factories import NOW, TZ, make_user
from tests.notify.office import Office
from tests.receivers import MailServer, mail_server
from tests.reports.ground import IN_OCTOBER, OCTOBER, Ground, execute
from whago.domain.actions.channels import ensure_channels
from whago.kit.crypto import Vault
from whago.tasks.clock import Outcome, Tools, run_clock
from whago.tasks.metrics import ClockMetrics
from whago.tasks.months import monthly_report
from whago.tasks.table import all_clocks


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def office(database: str, mail: MailServer) -> Office:
    return Office(mail)


@pytest.fixture
def tools(database: str, tmp_path: Path) -> Tools:
    return Tools(Vault([SECRET]), TZ, data_dir=tmp_path)


@pytest.fixture
def ground(database: str) -> Ground:
    made = Ground()
    made.october()
    for user in (made.ana, made.bia):
        execute("UPDATE users SET language = 'pt-BR' WHERE id = :id", id=user.id)
        ensure_channels(user.id, now=NOW)
    return made


def text_of(mail: MailServer, to: str) -> str:
    (message,) = [one for one in mail.messages if one["To"] == to]
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def test_customers_and_administrators_get_the_month_by_mail_once(
    ground: Ground, tools: Tools, office: Office, mail: MailServer
) -> None:
    admin = make_user(role="admin", language="en", created_at=IN_OCTOBER)
    ensure_channels(admin.id, now=NOW)
    for _ in range(2):  # the clock was killed after its work, and ran again
        monthly_report(tools, NOW, OCTOBER)
        office.round()
        office.round()
    assert sorted(mail.subjects()) == sorted(
        [
            "Seu relatório de uso de outubro de 2026",
            "Seu relatório de uso de outubro de 2026",
            "Report for October 2026",
        ]
    )
    ana = text_of(mail, ground.ana.email)
    assert "R$\u00a03,52" in ana
    assert "https://whago.example/usage" in ana
    boss = text_of(mail, admin.email)
    assert "R$9.52" in boss
    assert "https://whago.example/admin/reports" in boss


def test_the_clock_of_the_table_does_it_for_the_month_that_has_just_ended(ground: Ground, tools: Tools) -> None:
    execute("UPDATE users SET created_at = '2020-01-01'")
    clock = next(one for one in all_clocks() if one.name == "monthly_report")
    assert run_clock(clock, tools, ClockMetrics()) is Outcome.DONE
    assert run_clock(clock, tools, ClockMetrics()) is Outcome.NOT_DUE
    ((period,),) = execute("SELECT period FROM clock_runs WHERE clock = 'monthly_report'")
    closed = {month for (month,) in execute("SELECT month_year FROM user_proxy_costs WHERE closed_at IS NOT NULL")}
    assert closed == {period}
