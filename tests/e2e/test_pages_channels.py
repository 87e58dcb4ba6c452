"""Alert channels and alerts in a real browser, with a real mail server and a real receiver behind them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.looking import LOOKS, looked_at
from tests.e2e.seeding import make_account, make_admin
from tests.factories import TZ
from tests.notify.office import Office
from tests.receivers import Customer, MailServer, customer, mail_server
from whago.domain.models import Severity, User, raise_alert
from whago.kit import clock
from whago.kit.db import transaction
from whago.notify.post_office import deliver_due

pytestmark = pytest.mark.browser


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with mail_server() as server:
        yield server


@pytest.fixture
def hook() -> Iterator[Customer]:
    with customer() as receiver:
        yield receiver


@pytest.fixture
def owner(live: LiveServer) -> User:
    return make_account("business", name="Otto", email="otto@example.com")


@pytest.fixture
def office(live: LiveServer, mail: MailServer) -> Office:
    return Office(mail)


def deliver(office: Office) -> None:
    deliver_due(office.courier, now=clock.now, tz=TZ)


def test_a_webhook_is_added_tried_changed_and_removed(
    visits: Visits, owner: User, office: Office, hook: Customer
) -> None:
    page = visits.signed_in(owner, "/settings/channels")
    dialog = page.get_by_role("dialog")
    expect(page.locator("#channels li")).to_have_count(2)
    page.get_by_role("button", name="Adicionar webhook").click()
    dialog.get_by_label("Nome", exact=True).fill("CRM <b>")
    dialog.get_by_label("Endereço da web").fill("ftp://crm.example")
    dialog.get_by_role("button", name="Adicionar").click()
    expect(dialog.get_by_text("Isto não é um endereço da web.")).to_be_visible()
    dialog.get_by_label("Endereço da web").fill(hook.url)
    dialog.get_by_label("A cota do mês acabou").uncheck()
    dialog.get_by_label("O status de um chip muda").check()
    dialog.get_by_label("Patamares da cota").fill("50, 95")
    dialog.get_by_role("button", name="Adicionar").click()
    expect(dialog.locator("#webhook-secret")).to_contain_text("whsec_")
    dialog.get_by_role("button", name="Já guardei").click()
    row = page.locator("#channels li", has_text="CRM <b>")
    expect(row).to_contain_text("cota em 50%, 95%")
    expect(row).to_contain_text("1 evento")
    expect(page.locator("#dialog")).to_be_empty()
    assert "whsec_" not in page.content()

    row.get_by_role("button", name="Testar").click()
    expect(page.get_by_text("Um teste está a caminho.")).to_be_visible()
    deliver(office)
    assert hook.types() == ["test"]
    row.get_by_role("link", name="Registro").click()
    expect(page.locator("#log tbody tr")).to_contain_text(["Entregue"])
    page.go_back()

    row.get_by_role("button", name="Editar").click()
    expect(dialog.get_by_label("A cota do mês acabou")).not_to_be_checked()
    dialog.get_by_label("Todos, também tipos novos").check()
    expect(dialog.get_by_label("A cota do mês acabou")).to_be_hidden()
    dialog.get_by_label("Silêncio das").fill("22:00")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog.get_by_text("As horas de silêncio precisam de início e de fim.")).to_be_visible()
    dialog.get_by_label("Silêncio até").fill("07:00")
    dialog.get_by_role("button", name="Salvar").click()
    expect(row).to_contain_text("Todos os alertas")
    expect(row).to_contain_text("silêncio das 22:00 às 07:00")

    row.get_by_role("button", name="Excluir").click()
    dialog.get_by_role("button", name="Excluir").click()
    expect(page.locator("#channels li")).to_have_count(2)


def test_another_address_is_confirmed_by_its_code(visits: Visits, owner: User, office: Office) -> None:
    page = visits.signed_in(owner, "/settings/channels")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Adicionar e-mail").click()
    dialog.get_by_label("Nome", exact=True).fill("Plantão")
    dialog.get_by_label("Endereço de e-mail").fill("plantao@example.com")
    dialog.get_by_role("button", name="Adicionar").click()
    row = page.locator("#channels li", has_text="Plantão")
    expect(row).to_contain_text("Espera o código")
    deliver(office)
    (letter,) = office.mail.messages
    body = letter.get_body(("plain",))
    assert body is not None
    code = next(line.strip() for line in body.get_content().splitlines() if line.startswith("    "))
    row.get_by_role("button", name="Digitar o código").click()
    dialog.get_by_label("Código").fill(code)
    dialog.get_by_role("button", name="Confirmar").click()
    expect(row).to_contain_text("Ligado")
    expect(row.get_by_role("button", name="Testar")).to_be_visible()


def troubles(owner: User) -> None:
    now = clock.now() - timedelta(hours=2)
    with transaction() as db:
        told = {"provider": "Smartproxy Brasil"}
        raise_alert(db, "provider_down", "p", now=now, severity=Severity.ERROR, data=told)
        spike = {"alias": "Vendas", "used_bytes": 912_000_000, "day_cost": "22.80", "usual_cost": "1.04"}
        raise_alert(db, "chip_cost_spike", "c", now=now, severity=Severity.WARNING, user_id=owner.id, data=spike)


def test_an_administrator_sees_what_is_wrong_and_takes_it_over(visits: Visits, owner: User) -> None:
    admin = make_admin()
    troubles(owner)
    page = visits.signed_in(admin, "/admin/alerts")
    expect(page.locator("#alerts li")).to_have_count(2)
    spike = page.locator("#alerts li", has_text="Um chip está usando muito mais do que o normal")
    expect(spike).to_contain_text("R$\N{NO-BREAK SPACE}22,80")
    expect(spike).to_contain_text("Otto")
    spike.get_by_role("button", name="Eu cuido disso").click()
    expect(spike).to_contain_text("Ana Ribeiro cuida disso")
    page.get_by_label("Gravidade").select_option("error")
    page.get_by_role("button", name="Mostrar").click()
    expect(page.locator("#alerts li")).to_have_count(1)
    page.get_by_label("Situação").select_option("cleared")
    page.get_by_role("button", name="Mostrar").click()
    expect(page.get_by_text("Nada de errado aqui")).to_be_visible()


def test_a_log_with_failures_and_a_list_of_troubles_are_accessible_and_fit(
    visits: Visits, owner: User, office: Office, hook: Customer
) -> None:
    hook.answers.append((500, {}, b"Internal Server Error: the queue is full, try again later"))
    channel = office.webhook(owner, hook.url, name="CRM", events=["chip.status_changed"])
    troubles(owner)
    deliver(office)
    page = visits.signed_in(owner, f"/settings/channels/{channel}/log")
    expect(page.locator("#log tbody tr")).to_have_count(1)
    assert list(looked_at(page, LOOKS["pt-BR"])) == []
    board = visits.signed_in(make_admin(), "/admin/alerts")
    expect(board.locator("#alerts li")).to_have_count(2)
    assert list(looked_at(board, LOOKS["pt-BR"])) == []
