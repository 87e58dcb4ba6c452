"""What stands in the pages: escaped, without secrets, without anything that the policy forbids, and true."""

from __future__ import annotations

from decimal import Decimal
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.e2e.seeding import Meter, make_account, make_admin, new_chip, ready_pool, settle
from tests.factories import make_plan, make_provider
from tests.web.page_setup import INLINE, part, visitor
from whago.domain.models import ChipStatus, User
from whago.kit.crypto import Vault
from whago.web.pages.dashboard import tone_of

HOSTILE = "<img src=x onerror=alert(1)>'\"{{7*7}}&amp;"
PASSWORD_OF_THE_VENDOR = "s3cret-of-the-vendor"
CUSTOMER_PAGES = (
    "/dashboard",
    "/dashboard?by=chip",
    "/chips",
    "/usage",
    "/notifications",
    "/settings",
    "/settings/api-keys",
)
ADMIN_PAGES = (
    "/admin",
    "/admin?by=customer",
    "/admin/chips",
    "/admin/audit",
    "/admin/system",
    "/admin/proxies",
    "/admin/proxies?tab=pool",
    "/admin/proxies?tab=stats",
    "/admin/users",
    "/admin/plans",
)


@pytest.fixture
def hostile(app: FastAPI, vault: Vault) -> tuple[User, User, str]:
    """A customer, an administrator and a chip, and everything that has a name is called something nasty."""
    ready_pool(
        vault,
        name=HOSTILE,
        region=HOSTILE[:40],
        credentials={"username": "vendor-login", "password": PASSWORD_OF_THE_VENDOR},
    )
    plan = make_plan(name=HOSTILE, proxy_gb_limit=Decimal("0.001"))
    customer = make_account(plan, name=HOSTILE)  # type: ignore[arg-type]
    chip = new_chip(customer, HOSTILE)
    settle(chip.chip_id, ChipStatus.CONNECTED, phone="<b>5511</b>", exit_ip="203.0.113.9")
    Meter.start().move(chip.chip_id, 1_000_000)
    return customer, make_admin(name=HOSTILE), str(chip.chip_id)


def test_hostile_names_are_text_everywhere(app: FastAPI, hostile: tuple[User, User, str]) -> None:
    customer, admin, chip_id = hostile
    seen = 0
    for user, pages in ((customer, (*CUSTOMER_PAGES, f"/chips/{chip_id}")), (admin, ADMIN_PAGES)):
        client = visitor(app, user)
        for page in pages:
            html = client.get(page).text
            assert "<img src=x" not in html, page
            assert "<b>5511" not in html, page
            seen += html.count("&lt;img src=x")
    assert seen >= len(CUSTOMER_PAGES) + len(ADMIN_PAGES)


@pytest.mark.parametrize("dialog", ["rotate", "delete", "credential"])
def test_hostile_names_are_text_in_dialogs_too(app: FastAPI, hostile: tuple[User, User, str], dialog: str) -> None:
    customer, _admin, chip_id = hostile
    html = part(visitor(app, customer), f"/chips/{chip_id}/{dialog}").text
    assert "&lt;img src=x" in html
    assert "<img" not in html


def test_no_page_holds_what_the_policy_forbids(app: FastAPI, hostile: tuple[User, User, str]) -> None:
    customer, admin, chip_id = hostile
    for user, pages in ((None, ("/login", "/register")), (customer, (*CUSTOMER_PAGES, f"/chips/{chip_id}"))):
        for page in pages:
            answer = visitor(app, user).get(page)
            assert INLINE.findall(answer.text.replace("onerror=", "")) == [], page
            assert "unsafe" not in answer.headers["Content-Security-Policy"]
    client = visitor(app, admin)
    for page in (*ADMIN_PAGES, "/nowhere"):
        assert INLINE.findall(client.get(page).text.replace("onerror=", "")) == [], page


def test_no_page_or_dialog_tells_the_vendors_credentials(app: FastAPI, vault: Vault) -> None:
    provider = make_provider(vault, credentials={"username": "vendor-login", "password": PASSWORD_OF_THE_VENDOR})
    client = visitor(app, make_admin())
    dialog = part(client, f"/admin/proxies/dialogs/provider-edit/{provider.id}").text
    assert provider.username_template in unescape(dialog)
    for html in (dialog, client.get("/admin/proxies").text):
        assert PASSWORD_OF_THE_VENDOR not in html
        assert "vendor-login" not in html


@pytest.mark.parametrize(
    ("percentage", "tone"),
    [(0, "blue"), (69.99, "blue"), (70, "yellow"), (90, "yellow"), (90.01, "red"), (100, "red"), (250, "red")],
)
def test_the_bar_is_blue_then_yellow_then_red(percentage: float, tone: str) -> None:
    assert tone_of(percentage) == tone


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("pt-BR", ("Uso de Proxy neste Mês", "500,1 MB", "de 1 GB", "50%", "R$ 12,50", "Projeção para o mês")),
        ("en", ("Proxy usage this month", "500.1 MB", "of 1 GB", "50%", "R$12.50", "Projection for the month")),
    ],
)
def test_the_widget_tells_the_month(app: FastAPI, vault: Vault, language: str, said: tuple[str, ...]) -> None:
    ready_pool(vault)
    customer = make_account("business")
    Meter.start().move(new_chip(customer, "Suporte").chip_id, 500_100_000)
    html = unescape(part(visitor(app, customer, language), "/dashboard/usage").text)
    for sentence in said:
        assert sentence in html.replace("\N{NO-BREAK SPACE}", " ")
    assert 'role="progressbar"' in html
    assert 'aria-valuenow="50.01"' in html


@pytest.mark.parametrize(
    ("on_limit", "state", "sentence"),
    [
        ("block", "blocked", "As conexões abertas foram fechadas"),
        ("block_new", "blocked", "As conexões abertas continuam"),
        ("bill", "warning", "No seu plano nada para"),
    ],
)
def test_the_widget_says_what_the_limit_means(
    app: FastAPI, vault: Vault, on_limit: str, state: str, sentence: str
) -> None:
    ready_pool(vault)
    plan = make_plan(proxy_gb_limit=Decimal("0.001"), on_limit=on_limit)
    customer = make_account(plan)  # type: ignore[arg-type]
    Meter.start().move(new_chip(customer, "Suporte").chip_id, 1_200_000)
    html = part(visitor(app, customer), "/dashboard/usage").text
    assert f'data-state="{state}"' in html
    assert sentence in html
    assert 'aria-valuenow="100"' in html


def test_a_plan_without_a_limit_has_no_bar(app: FastAPI, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account(make_plan(proxy_gb_limit=None))  # type: ignore[arg-type]
    Meter.start().move(new_chip(customer, "Suporte").chip_id, 3_000_000)
    html = part(visitor(app, customer), "/dashboard/usage").text
    assert "sem limite" in html
    assert "progressbar" not in html


def test_a_plan_that_allows_nothing_is_blocked_from_the_start(app: FastAPI) -> None:
    customer = make_account(make_plan(proxy_gb_limit=Decimal(0)))  # type: ignore[arg-type]
    html = part(visitor(app, customer), "/dashboard/usage").text
    assert 'data-state="blocked"' in html
    assert "bar-red" in html


def test_the_chart_has_every_day_and_its_table_adds_up(app: FastAPI, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account("business")
    chip = new_chip(customer, "Suporte")
    meter = Meter.start()
    meter.move(chip.chip_id, 1_000_000)
    meter.move(chip.chip_id, 2_000_000)
    html = part(visitor(app, customer), "/dashboard/series").text
    rows = [line.split('data-bytes="')[1].split('"')[0] for line in html.splitlines() if "data-bytes" in line]
    assert len(rows) == 30
    assert sum(map(int, rows)) == 3_000_000


def test_lists_are_searched_and_filtered(app: FastAPI, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account("enterprise")
    settle(new_chip(customer, "Vendas 100%").chip_id, ChipStatus.CONNECTED, phone="5511987654321")
    new_chip(customer, "Suporte")
    client = visitor(app, customer)
    for query, found, missing in (
        ("search=100%25", "Vendas", "Suporte"),
        ("search=98765", "Vendas", "Suporte"),
        ("search=&status=created", "Suporte", "Vendas"),
    ):
        html = part(client, f"/chips?{query}").text
        assert found in html, query
        assert missing not in html, query
    assert "Nada encontrado" in part(client, "/chips?search=nothing-like-this").text


def test_a_long_list_goes_on_where_it_stopped(app: FastAPI, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account(make_plan(max_chips=60))  # type: ignore[arg-type]
    for number in range(51):
        new_chip(customer, f"Loja {number:02d}")
    client = visitor(app, customer)
    first = client.get("/chips?search=Loja").text
    following = unescape(first).split('<nav class="pager"')[1].split('href="')[1].split('"')[0]
    second = client.get(following).text
    assert "Loja 50" in first
    assert "Loja 00" not in first
    assert "Loja 00" in second
    assert "search=Loja" in following


def test_a_customer_with_many_chips_does_not_fill_the_page(app: FastAPI, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account(make_plan(max_chips=60))  # type: ignore[arg-type]
    for number in range(23):
        new_chip(customer, f"Loja {number:02d}")
    html = visitor(app, make_admin()).get("/admin/users").text
    assert "Loja 09" in html
    assert "Loja 10" not in html
    assert "e mais 13" in html


def test_empty_states_say_what_to_do(app: FastAPI) -> None:
    customer, admin = visitor(app, make_account("free")), visitor(app, make_admin())
    assert "Nenhum chip ainda" in customer.get("/chips").text
    assert "Nada a avisar" in customer.get("/notifications").text
    assert "Nenhum provedor ainda" in admin.get("/admin/proxies").text
    assert "Adicione um provedor primeiro" in admin.get("/admin/proxies?tab=pool").text


def test_another_month_of_another_zone_is_told_in_the_browsers_zone(app: FastAPI) -> None:
    client = visitor(app, make_account("free"))
    client.cookies.set("whago_tz", "Asia/Tokyo")
    assert "12:00" in client.get("/dashboard/usage").text  # midnight in São Paulo is noon in Tokyo
    client.cookies.set("whago_tz", "../../etc/passwd")
    assert "00:00" in client.get("/dashboard/usage").text


@pytest.mark.parametrize(("cookie", "attribute"), [("dark", 'data-theme="dark"'), ("<script>", "<html lang")])
def test_the_theme_is_the_one_that_was_chosen(app: FastAPI, cookie: str, attribute: str) -> None:
    client = visitor(app)
    client.cookies.set("whago_theme", cookie)
    html = client.get("/login").text
    assert attribute in html
    assert "<script>" not in html


def test_the_language_is_the_one_that_was_chosen(app: FastAPI) -> None:
    client = visitor(app)
    client.cookies.set("whago_language", "en")
    assert '<html lang="en"' in client.get("/login").text


@pytest.mark.parametrize(
    ("language", "title"), [("pt-BR", "Esta página não existe"), ("en", "This page does not exist")]
)
def test_what_is_not_there_is_told_in_style(app: FastAPI, language: str, title: str) -> None:
    answer = visitor(app, language=language).get("/nowhere")
    assert answer.status_code == 404
    assert title in answer.text


def test_a_bug_is_told_without_its_inside(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("the inside")

    cookies = visitor(app, make_account("free")).cookies
    monkeypatch.setattr("whago.web.pages.dashboard.usage_of_month", broken)
    client = TestClient(app, base_url="http://whago.example", raise_server_exceptions=False, cookies=cookies)
    answer = client.get("/dashboard")
    assert answer.status_code == 500
    assert "Algo quebrou do nosso lado" in answer.text
    assert "the inside" not in answer.text
