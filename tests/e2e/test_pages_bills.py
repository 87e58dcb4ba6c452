"""Bills, exit IPs and the provider form's presets, used in a real browser."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from tests.e2e.conftest import LiveServer, Visits
from tests.e2e.seeding import Meter, assignment_of, make_account, make_admin, new_chip, ready_pool
from tests.factories import TZ, make_provider
from whago.domain.actions.bills import record_vendor_days
from whago.domain.actions.exit_ip_lives import measure_exit_ip_lives
from whago.domain.actions.exit_ips import observe_exit_ip, roll_exit_ip_days
from whago.domain.models import Calibration, User
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import transaction

pytestmark = pytest.mark.browser


@pytest.fixture
def admin(live: LiveServer) -> User:
    return make_admin()


def test_the_form_is_built_from_the_vendor_s_preset(visits: Visits, admin: User) -> None:
    page = visits.signed_in(admin, "/admin/proxies")
    page.get_by_role("button", name="Adicionar provedor").first.click()
    dialog = page.get_by_role("dialog")
    vendor, preview = dialog.get_by_label("Fornecedor", exact=True), dialog.locator("[data-preview]")
    expect(preview).to_have_text("user-session-48213907")
    expect(dialog.get_by_label("País", exact=True)).to_be_hidden()
    vendor.select_option("oxylabs")
    dialog.get_by_label("País", exact=True).fill("br")
    dialog.get_by_label("Usuário no fornecedor").fill("acme")
    expect(preview).to_have_text("customer-acme-cc-BR-sessid-48213907-sesstime-1440")
    dialog.locator("summary").click()
    dialog.get_by_label("Sessão estrita").check()
    expect(preview).to_have_text("customer-acme-cc-BR-sessid_oneip-48213907-sesstime-1440")
    expect(dialog.get_by_label("Chave da API de uso")).to_be_visible()
    vendor.select_option("iproyal")
    expect(preview).to_have_text("acme")
    expect(dialog.locator("[data-preview-password]")).to_have_text("•••_country-br_session-48213907_lifetime-168h")
    expect(dialog.get_by_label("Sessão estrita")).to_be_hidden()
    vendor.select_option("static")
    expect(dialog.get_by_label("Host")).to_be_hidden()
    vendor.select_option("custom")
    dialog.get_by_label("Modelo do usuário").fill("{username}-{nobody}")
    expect(dialog.locator("[data-preview-error]")).to_contain_text("nobody")
    dialog.get_by_label("Modelo do usuário").fill("{username}.{country}.{session}")
    dialog.get_by_label("Como escreve o país").select_option("upper")
    expect(preview).to_have_text("acme.BR.48213907")


def test_what_happens_at_a_change_of_the_exit_ip_is_chosen_per_provider(
    visits: Visits, admin: User, vault: Vault
) -> None:
    make_provider(vault, name="Com pausa", preset="smartproxy", host="proxy.example.com")
    page = visits.signed_in(admin, "/admin/proxies")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Editar Com pausa").click()
    dialog.locator("summary").click()
    dialog.get_by_label("Quando o IP de saída de um chip muda").select_option("pause")
    dialog.get_by_label("Conferir a cada (minutos)").fill("15")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Editar Com pausa").click()
    expect(dialog.get_by_label("Quando o IP de saída de um chip muda")).to_have_value("pause")
    expect(dialog.get_by_label("Conferir a cada (minutos)")).to_have_value("15")


def test_a_list_comes_from_a_file_and_tells_what_was_skipped(
    visits: Visits, admin: User, vault: Vault, tmp_path: Path
) -> None:
    make_provider(vault, name="IPs fixos", preset="static", host=None, port=None, username_template="{username}")
    listed = tmp_path / "proxies.txt"
    lines = [f"203.0.113.{number}:8080:user:secret-of-the-list" for number in range(1, 201)]
    listed.write_text("\n".join([*lines, "isto não é um proxy", lines[0]]), encoding="windows-1252")
    page = visits.signed_in(admin, "/admin/proxies?tab=pool")
    dialog = page.get_by_role("dialog")
    for created, skipped in ((200, 1), (0, 201)):
        page.get_by_role("button", name="Colar uma lista").click()
        dialog.get_by_label("Arquivo de texto").set_input_files(listed)
        expect(dialog.get_by_label("Proxies estáticos, um por linha")).to_have_value("\n".join(
            [*lines, "isto não é um proxy", lines[0]]
        ))  # fmt: skip
        dialog.get_by_role("button", name="Adicionar ao pool").click()
        expect(dialog.get_by_role("status")).to_contain_text(str(created))
        expect(dialog.get_by_text("foram pulados")).to_contain_text(str(skipped))
        expect(dialog.get_by_role("listitem")).to_contain_text("201:")
        dialog.get_by_role("button", name="Fechar").click()


def test_a_bill_is_imported_and_compared_day_by_day(visits: Visits, admin: User, vault: Vault, tmp_path: Path) -> None:
    ready_pool(vault)
    chip = new_chip(make_account("enterprise"), "Vendas")
    Meter.start().move(chip.chip_id, 50_000_000)
    today = clock.now().astimezone(TZ).date()
    page = visits.signed_in(admin, "/admin/proxies")
    page.get_by_role("link", name="Conciliação de Smartproxy Brasil").click()
    expect(page.get_by_role("heading", name="Conciliação de Smartproxy Brasil")).to_be_visible()
    dialog = page.get_by_role("dialog")

    page.get_by_role("button", name="Como ler a fatura").click()
    dialog.get_by_label("Fuso horário dos dias do fornecedor").fill("America/Sao_Paulo")
    dialog.get_by_label("Diverge a partir de (%)").fill("2,5")
    dialog.get_by_role("button", name="Salvar").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_text("os dias viram à meia-noite em America/Sao_Paulo")).to_be_visible()

    bill = tmp_path / "fatura.csv"
    yesterday = today - timedelta(days=1)
    bill.write_text(f"Dia;MB\n{today:%d/%m/%Y};51,5\n{yesterday:%d/%m/%Y};0,2\nTotal;51,7\n", encoding="utf-8")
    page.get_by_role("button", name="Importar fatura").click()
    dialog.get_by_label("Arquivo CSV").set_input_files(bill)
    dialog.get_by_label("Unidade").select_option("MB")
    dialog.get_by_role("button", name="Importar").click()
    expect(dialog.get_by_role("status")).to_contain_text("2")
    expect(dialog.get_by_text("Dias divergentes:")).to_contain_text("1")
    expect(dialog.get_by_role("listitem")).to_contain_text("4:")
    dialog.get_by_role("button", name="Fechar").click()
    row = page.get_by_role("row", name="Diverge")
    expect(row).to_contain_text("+1,5\N{NO-BREAK SPACE}MB")
    expect(row).to_contain_text("+3%")
    expect(page.get_by_role("row", name="Sem como julgar")).to_be_visible()


def test_a_bill_that_cannot_be_read_is_told_at_its_field(visits: Visits, admin: User, vault: Vault) -> None:
    provider, _proxy = ready_pool(vault)
    page = visits.signed_in(admin, f"/admin/proxies/bills/{provider.id}")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Importar fatura").click()
    dialog.get_by_label("ou cole aqui").fill("when,what\n2026-11-01,5\n")
    dialog.get_by_role("button", name="Importar").click()
    expect(dialog.get_by_label("Coluna do dia")).to_be_focused()
    dialog.get_by_label("Coluna do dia").fill("when")
    dialog.get_by_label("Colunas de bytes").fill("what")
    dialog.get_by_role("button", name="Importar").click()
    expect(dialog.get_by_role("status")).to_be_visible()


def test_a_calibration_is_begun_and_what_it_found_is_taken_over(visits: Visits, admin: User, vault: Vault) -> None:
    provider, _proxy = ready_pool(vault)
    page = visits.signed_in(admin, f"/admin/proxies/bills/{provider.id}")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Calibrar").click()
    dialog.get_by_role("button", name="Calibrar").click()
    expect(page.get_by_text("Em andamento: 0 de 6 etapas")).to_be_visible()
    with transaction() as db:
        one = db.scalars(select(Calibration)).one()
        one.state, one.ended_at = "done", clock.now()
        one.fit = {"scale": "0.931323", "bytes_per_gb": 2**30, "overhead_bytes": 40, "is_known": True,
                   "residual_percent": "0.100"}  # fmt: skip
    page.get_by_role("button", name="Aplicar").click()
    expect(dialog.get_by_text("1.073.741.824 bytes")).to_be_visible()
    dialog.get_by_role("button", name="Aplicar").click()
    expect(page.get_by_text("Aplicada", exact=True)).to_be_visible()


def drift(chip_id: UUID) -> None:
    ident = assignment_of(chip_id).id
    for hours, address in ((3, "203.0.113.1"), (1, "203.0.113.2")):
        observe_exit_ip(ident, address, country="BR", asn="AS28573 Claro", now=clock.now() - timedelta(hours=hours))


def test_a_paused_chip_s_owner_accepts_the_new_exit_ip(visits: Visits, live: LiveServer, vault: Vault) -> None:
    ready_pool(vault, exit_ip_policy="pause")
    owner = make_account("enterprise")
    chip = new_chip(owner, "Suporte")
    drift(chip.chip_id)
    page = visits.signed_in(owner, f"/chips/{chip.chip_id}")
    expect(page.get_by_text("Este chip está pausado")).to_be_visible()
    expect(page.get_by_text("Ele saía por 203.0.113.1")).to_be_visible()
    page.get_by_role("button", name="Aceitar o novo IP").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Aceitar o novo IP").click()
    expect(page.get_by_text("Este chip está pausado")).to_be_hidden()
    expect(page.get_by_text("O novo IP de saída foi aceito")).to_be_visible()


def test_the_statistics_tell_each_provider_s_continuity(visits: Visits, admin: User, vault: Vault) -> None:
    provider, _proxy = ready_pool(vault)
    owner = make_account("enterprise")
    drift(new_chip(owner, "Um").chip_id)
    steady = new_chip(owner, "Dois").chip_id
    observe_exit_ip(assignment_of(steady).id, "203.0.113.9", country="BR", asn=None, now=clock.now())
    roll_exit_ip_days(now=clock.now(), tz=TZ)
    measure_exit_ip_lives(now=clock.now())
    record_vendor_days(provider.id, {date(2026, 1, 1): 5_000_000}, source="csv", now=clock.now(), tz=TZ)
    page = visits.signed_in(admin, "/admin/proxies?tab=stats")
    row = page.get_by_role("region", name="Continuidade dos IPs de saída").get_by_role("row", name=provider.name)
    expect(row).to_contain_text("dias-chip")
    expect(row).to_contain_text("%")
