"""The newer pages: what they tell is what the database holds, for whom it is meant."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from tests.e2e.seeding import Meter, assignment_of, make_account, make_admin, new_chip, ready_pool, settle
from tests.factories import TZ, make_plan, make_proxy
from tests.web.api_setup import Caller
from tests.web.page_setup import part, rows, text_of, visitor
from whago.domain.actions.clock_runs import begin_run, end_run
from whago.domain.actions.usage_days import roll_days
from whago.domain.models import (
    Assignment,
    Chip,
    ChipStatus,
    ExitIpObservation,
    GatewayBoot,
    Provider,
    Proxy,
    Severity,
    User,
    raise_alert,
)
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.kit.db import reading, transaction
from whago.kit.ids import new_id


@pytest.fixture
def boss(app: FastAPI) -> User:
    return make_admin()


@pytest.fixture
def maria(app: FastAPI, vault: Vault) -> User:
    ready_pool(vault)
    return make_account("business", name="Maria Duarte", email="maria@example.com")


def beat() -> None:
    now = clock.now()
    run = begin_run("heartbeat", now=now, not_within=timedelta(0))
    assert run is not None
    end_run(run, counts={}, error=None, now=now)


def test_the_overview_tells_today_the_month_and_who_is_near(app: FastAPI, boss: User, maria: User) -> None:
    meter = Meter.start()
    meter.move(new_chip(maria, "Suporte").chip_id, 850_000_000)
    meter.move(new_chip(make_account("free", name="Padaria"), "Balcão").chip_id, 100_000_000)
    meter.move(new_chip(make_account("enterprise", name="Ipê"), "Vendas").chip_id, 1_000_000_000)
    html = visitor(app, boss, "en").get("/admin").text
    told = text_of(html)
    assert "Today 1.95 GB R$48.75" in told
    assert "1.95 GB R$48.75 · projection" in told
    near = re.findall(r'id="near-.*?</li>', html, re.S)
    assert ["Padaria" in near[0], "Maria Duarte" in near[1], len(near)] == [True, True, 2]
    assert "Blocked" in near[0]
    assert "85%" in near[1]
    assert "850 MB of 1 GB · Business" in text_of(near[1])


def test_a_plan_that_allows_nothing_is_at_its_limit(app: FastAPI, boss: User, vault: Vault) -> None:
    ready_pool(vault)
    customer = make_account(make_plan(proxy_gb_limit=Decimal("0.5")), name="Zero")  # type: ignore[arg-type]
    Meter.start().move(new_chip(customer, "x").chip_id, 1_000_000)
    with transaction() as db:
        db.execute(update(User).where(User.id == customer.id).values(plan_id=make_plan(proxy_gb_limit=Decimal(0)).id))
    assert "Zero" in visitor(app, boss).get("/admin").text


def test_all_is_well_when_all_is_well(app: FastAPI, boss: User, maria: User) -> None:
    Meter.start()
    beat()
    told = text_of(visitor(app, boss, "en").get("/admin").text)
    assert "All is well" in told
    assert "Nobody yet" in told


def test_what_is_broken_is_told_with_the_place_to_look(app: FastAPI, boss: User, maria: User) -> None:
    chip = new_chip(maria, "Suporte")
    settle(chip.chip_id, ChipStatus.ERROR)
    with transaction() as db:
        db.execute(update(Proxy).values(health_score=10))
        raise_alert(
            db,
            "provider_down",
            "p",
            now=clock.now(),
            severity=Severity.ERROR,
            data={"provider": "<b>Decodo</b>"},
        )
        raise_alert(db, "quota_warning", "q", now=clock.now(), severity=Severity.WARNING, user_id=maria.id)
    html = visitor(app, boss, "en").get("/admin").text
    told = text_of(html)
    for sentence in (
        "A proxy provider is down",
        "The provider <b>Decodo</b> does not answer",
        "No gateway reports",
        "The clocks stand still",
        "1 chip has an error",
        "1 proxy takes no chips",
    ):
        assert sentence in told, sentence
    assert "<b>Decodo" not in html
    assert "80% of the proxy quota" not in told  # a customer's own affair
    for place in ("/admin/proxies", "/admin/system", "/admin/chips?status=error", "/admin/proxies?tab=pool"):
        assert f'href="{place}"' in html


def test_the_throughput_is_what_flowed_between_two_looks(app: FastAPI, boss: User, maria: User) -> None:
    chip, meter = new_chip(maria, "Suporte"), Meter.start()
    meter.move(chip.chip_id, 1_000_000)
    client = visitor(app, boss, "en")
    first = client.get("/admin").text
    assert "measuring…" in first
    again = re.search(r'hx-get="(/admin\?seen=[^"]+)"', first)
    assert again
    meter.move(chip.chip_id, 4_000_000)
    second = text_of(part(client, again[1]).text)
    assert "measuring…" not in second
    rate = re.search(r"Right now ([\d.,]+) (B|KB|MB|GB)/s", second)
    assert rate
    assert float(rate[1].replace(",", "")) > 0


def test_the_chart_is_split_as_asked(app: FastAPI, boss: User, maria: User) -> None:
    meter = Meter.start()
    for number in range(8):
        meter.move(new_chip(make_account("business", name=f"C{number}"), "x").chip_id, (number + 1) * 1_000_000)
    client = visitor(app, boss, "en")
    html = part(client, "/admin/series?by=customer").text
    heads = re.findall(r'<th scope="col" class="end">(.*?)</th>', html)
    assert heads == ["C7", "C6", "C5", "C4", "C3", "C2", "Others", "Usage", "Cost"]
    today = text_of(re.findall(r"<tr data-at.*?</tr>", html, re.S)[0])
    assert "8 MB 7 MB 6 MB 5 MB 4 MB 3 MB 3 MB 36 MB R$0.90" in today
    assert "data-parts" not in part(client, "/admin/series?by=nonsense").text.replace('data-parts="[]"', "")


@pytest.fixture
def two_vendors(app: FastAPI, vault: Vault) -> tuple[User, User]:
    """Maria used 5 MB at the dear vendor, a quarter of them today; João 2 MB at the cheap one."""
    provider, _proxy = ready_pool(vault, name="Caro", cost_per_gb=Decimal(100))
    customers = make_account("business", name="Maria"), make_account("business", name="João")
    meter = Meter.start()
    first = new_chip(customers[0], "Suporte").chip_id
    meter.move(first, 4_000_000, at=clock.now() - timedelta(days=3))
    meter.move(first, 1_000_000)
    with transaction() as db:
        db.execute(update(Provider).where(Provider.id == provider.id).values(is_active=False))
    ready_pool(vault, name="Barato", cost_per_gb=Decimal(50))
    meter.move(new_chip(customers[1], "Vendas").chip_id, 2_000_000)
    return customers


SPLITS = [
    ("", [], ["3 MB R$0.20", "4 MB R$0.40"]),
    ("provider", ["Caro", "Barato"], ["1 MB 2 MB 3 MB R$0.20", "4 MB 0 B 4 MB R$0.40"]),
    ("customer", ["Maria", "João"], ["1 MB 2 MB 3 MB R$0.20", "4 MB 0 B 4 MB R$0.40"]),
]


@pytest.mark.parametrize("is_added_up", [False, True], ids=["hours", "days"])
@pytest.mark.parametrize(("by", "names", "figures"), SPLITS, ids=["whole", "provider", "customer"])
def test_the_statistics_split_by_provider_and_by_customer(
    app: FastAPI,
    boss: User,
    two_vendors: tuple[User, User],
    by: str,
    names: list[str],
    figures: list[str],
    is_added_up: bool,
) -> None:
    if is_added_up:
        roll_days(now=clock.now(), tz=TZ)
    client = visitor(app, boss, "en")
    whole = client.get(f"/admin/proxies?tab=stats&by={by}").text
    alone = part(client, f"/admin/proxies/series?by={by}").text
    for html in (whole, alone):
        chart = html[html.index('id="series"') :]
        assert re.findall(r'<th scope="col" class="end">(.*?)</th>', chart) == [*names, "Usage", "Cost"]
        told = [text_of(row) for row in re.findall(r"<tr data-at.*?</tr>", chart, re.S)]
        assert [re.sub(r"^.*? \d{4} ", "", row).strip() for row in told if "R$0.00" not in row] == figures
        pressed = re.findall(r'id="series-by-(\w+)"[^>]*aria-pressed="true"', chart)
        assert pressed == [by or "all"]
        assert "7 MB · R$0.60" in text_of(chart)


@pytest.mark.parametrize("by", ["provider", "customer"])
def test_nobody_else_sees_the_statistics_split(app: FastAPI, two_vendors: tuple[User, User], by: str) -> None:
    for path in (f"/admin/proxies?tab=stats&by={by}", f"/admin/proxies/series?by={by}"):
        turned_away = visitor(app).get(path)
        assert turned_away.status_code == 303
        assert turned_away.headers["Location"].startswith("/login?next=")
        refused = part(visitor(app, two_vendors[0]), path)
        assert refused.status_code == 403
        assert "João" not in refused.text
        assert "Barato" not in refused.text


def test_a_customers_chart_splits_by_their_own_chips_only(app: FastAPI, maria: User) -> None:
    meter = Meter.start()
    meter.move(new_chip(maria, "Suporte").chip_id, 2_000_000)
    meter.move(new_chip(make_account("business"), "Alheio").chip_id, 9_000_000)
    html = part(visitor(app, maria), "/dashboard/series?by=chip").text
    assert "Suporte" in html
    assert "Alheio" not in html
    assert "By customer" not in html


@pytest.fixture
def crowd(app: FastAPI, maria: User) -> list[str]:
    """Sixty chips of one customer and what each used, in an order of its own."""
    plan = make_plan(max_chips=100, proxy_gb_limit=None)
    with transaction() as db:
        db.execute(update(User).where(User.id == maria.id).values(plan_id=plan.id))
    names = [f"Chip {number:02}" for number in range(60)]
    meter = Meter.start()
    for number, name in enumerate(names):
        meter.move(new_chip(maria, name).chip_id, ((number * 37) % 60 + 1) * 1_000_000)
    return names


def walk(client: TestClient, path: str) -> list[str]:
    """Every row of a list, page after page, as its links lead."""
    found: list[str] = []
    next_path: str | None = path
    while next_path is not None:
        html = client.get(next_path).text
        found += rows(html)
        after = re.search(r'class="button button-small" href="([^"]+)">(?:Next|Próxima)', html)
        next_path = unescape(after[1]) if after else None
    return found


@pytest.mark.parametrize("who", ["maria", "boss"])
def test_lists_of_chips_sort_and_page_without_losing_or_repeating_any(
    app: FastAPI, boss: User, maria: User, crowd: list[str], who: str
) -> None:
    path = "/chips" if who == "maria" else "/admin/chips"
    client = visitor(app, maria if who == "maria" else boss, "en")
    by_name = [re.search(r"Chip \d\d", row)[0] for row in walk(client, f"{path}?sort=name")]  # type: ignore[index]
    assert by_name == crowd
    by_usage = walk(client, f"{path}?sort=usage")
    used = [int(re.search(r"(\d+) MB", row)[1]) for row in by_usage]  # type: ignore[index]
    assert used == list(range(60, 0, -1))
    newest = [re.search(r"Chip \d\d", row)[0] for row in walk(client, path)]  # type: ignore[index]
    assert newest == crowd[::-1]
    assert len(walk(client, f"{path}?sort=status")) == 60
    assert 'aria-sort="descending"' in client.get(f"{path}?sort=usage").text
    assert len(walk(client, f"{path}?sort=nonsense")) == 60


def test_an_administrator_finds_any_chip(app: FastAPI, boss: User, maria: User, vault: Vault) -> None:
    settle(new_chip(maria, "Suporte").chip_id, ChipStatus.CONNECTED, phone="+55 11 98765-4321", exit_ip="187.19.204.31")
    new_chip(make_account("business", name="Outra"), "Vendas")
    client = visitor(app, boss, "en")
    for query in ("search=supor", "search=98765", "search=maria%40", "status=connected"):
        (row,) = rows(part(client, f"/admin/chips?{query}").text)
        for text in ("Suporte", "Maria Duarte", "187.19.204.31", "Smartproxy Brasil", "Connected"):
            assert text in row
    provider_id = assignment_of(new_chip(maria, "x").chip_id).provider_id
    assert len(rows(part(client, f"/admin/chips?provider={provider_id}").text)) == 3
    assert rows(part(client, f"/admin/chips?provider={new_id()}").text) == []


def test_a_chip_is_put_on_a_proxy_by_hand(app: FastAPI, admin: Caller, boss: User, maria: User) -> None:
    chip = new_chip(maria, "Suporte")
    assigned = assignment_of(chip.chip_id)
    dialog = part(visitor(app, boss), f"/admin/chips/dialogs/proxy/{chip.chip_id}").text
    assert "Não há outro proxy ativo no pool." in dialog
    with reading() as db:
        provider = db.get_one(Provider, assigned.provider_id)
    other = make_proxy(provider)
    dialog = part(visitor(app, boss), f"/admin/chips/dialogs/proxy/{chip.chip_id}").text
    assert f'value="{other.id}"' in dialog
    assert str(assigned.proxy_id) not in dialog
    answer = admin.post(f"/admin/chips/{chip.chip_id}/assignment", {"proxy_id": str(other.id)})
    assert answer.status_code == 200, answer.text
    assert assignment_of(chip.chip_id).proxy_id == other.id


def test_the_chip_shows_how_long_it_has_its_address(app: FastAPI, maria: User) -> None:
    chip = new_chip(maria, "Suporte")
    settle(chip.chip_id, ChipStatus.CONNECTED, exit_ip="187.19.204.31")
    with transaction() as db:
        db.execute(
            update(ExitIpObservation).values(first_seen_at=clock.now() - timedelta(days=12, hours=5)),
        )
    client = visitor(app, maria, "en")
    (row,) = rows(part(client, "/chips").text)
    assert "12 days" in row
    html = part(client, f"/chips/{chip.chip_id}").text
    assert 'data-tip="187.19.204.31"' in html
    assert "for 12 days" in text_of(html)
    assert 'data-tip="Connected"' in html


def test_the_band_has_a_stretch_for_every_address_and_a_gap_without_a_proxy(app: FastAPI, maria: User) -> None:
    chip, now = new_chip(maria, "Suporte"), clock.now()
    current = assignment_of(chip.chip_id)
    with transaction() as db:
        db.execute(update(Assignment).values(assigned_at=now - timedelta(days=40)))
        old = Assignment(
            id=new_id(),
            chip_id=chip.chip_id,
            proxy_id=current.proxy_id,
            provider_id=current.provider_id,
            session_identifier="chip-old",
            session_token="1",
            is_exclusive=False,
            assigned_at=now - timedelta(days=50),
            released_at=now - timedelta(days=20),
            assign_reason="created",
        )
        db.add(old)
        db.flush()
        for assignment_id, ip, days in ((old.id, "203.0.113.1", 28), (current.id, "203.0.113.2", 10)):
            moment = now - timedelta(days=days)
            db.add(
                ExitIpObservation(
                    chip_id=chip.chip_id,
                    assignment_id=assignment_id,
                    exit_ip=ip,
                    first_seen_at=moment,
                    last_seen_at=moment,
                )
            )
        db.execute(update(Chip).values(created_at=now - timedelta(days=60)))
    html = part(visitor(app, maria, "en"), f"/chips/{chip.chip_id}").text
    drawn = re.search(r'id="exit-band".*?</svg>', html, re.S)
    assert drawn
    places = [(float(x), float(width)) for x, width in re.findall(r'x="([\d.]+)" width="([\d.]+)"', drawn[0])]
    assert [round(x) for x, _ in places] == [67, 667]  # 28 and 10 days ago of 30
    assert [round(width) for _, width in places] == [267, 333]  # eight days, and ten until now
    table = re.search(r'id="exit-band-table".*?</details>', html, re.S)
    assert table
    assert re.findall(r"203\.0\.113\.\d", table[0]) == ["203.0.113.2", "203.0.113.1"]


def test_every_change_of_a_status_is_on_the_timeline(app: FastAPI, maria: User) -> None:
    chip = new_chip(maria, "Suporte")
    for status in (ChipStatus.CONNECTED, ChipStatus.DISCONNECTED, ChipStatus.CONNECTED):
        settle(chip.chip_id, status)
    html = part(visitor(app, maria, "en"), f"/chips/{chip.chip_id}").text
    drawn = re.search(r'id="status-band".*?</svg>', html, re.S)
    assert drawn
    words = re.findall(r'data-tip="([^"]+)"', drawn[0])
    assert words == ["Created", "Connected", "Disconnected", "Connected"]


def test_the_audit_log_is_searched(app: FastAPI, admin: Caller, boss: User) -> None:
    plan = admin.post(
        "/admin/plans", {"name": "Agência <i>", "slug": "agencia", "price": "1", "max_chips": 1, "proxy_gb_limit": "1"}
    ).json()
    admin.delete(f"/admin/plans/{plan['id']}")
    client = visitor(app, boss, "en")
    html = client.get("/admin/audit").text
    assert [("Plan removed" in row, "Plan made" in row) for row in rows(html)[:2]] == [(True, False), (False, True)]
    assert "<i>" not in html
    assert len(rows(part(client, "/admin/audit?action=plan.create").text)) == 1
    assert len(rows(part(client, f"/admin/audit?search={plan['id']}").text)) == 2
    assert len(rows(part(client, f"/admin/audit?search={admin.user.email}").text)) == 2
    assert "No entry matches" in part(client, "/admin/audit?search=nobody-at-all").text
    options = re.search(r'id="audit-action".*?</select>', html, re.S)
    assert options
    assert re.findall(r'option value="([^"]+)"', options[0]) == ["plan.create", "plan.delete"]


def test_the_system_page_tells_gateways_clocks_and_versions(app: FastAPI, boss: User) -> None:
    Meter.start()
    beat()
    with transaction() as db:
        db.add(
            GatewayBoot(
                id=new_id(),
                host="old.example",
                pid=7,
                port=1,
                started_at=datetime(2026, 1, 1, tzinfo=UTC),
                last_seen_at=clock.now() - timedelta(minutes=5),
            )
        )
    run = begin_run("usage_monitor", now=clock.now(), not_within=timedelta(0))
    assert run is not None
    end_run(run, counts={"checked": 3, "wrong": 0}, error="OperationalError: gone", now=clock.now())
    told = text_of(visitor(app, boss, "en").get("/admin/system").text)
    for text in (
        "PostgreSQL",
        "schema 00",
        "127.0.0.1:3128",
        "reports",
        "old.example:1",
        "silent",
        "America/Sao_Paulo",
    ):
        assert text in told, text
    assert "usage_monitor failed" in told
    assert "OperationalError: gone" in told
    assert re.search(r"Worker and clocks running", told)


def test_keys_are_listed_without_the_key(app: FastAPI, owner: Caller) -> None:
    made = owner.post("/api-keys", {"name": "CRM <b>", "scopes": ["read"]}).json()
    client = visitor(app, owner.user, "en")
    html = client.get("/settings/api-keys").text
    assert made["key"] not in html
    assert f"{made['prefix']}…" in html
    assert "Only look" in rows(html)[0]
    assert "<b>" not in html
    assert "Everything" not in part(client, "/settings/api-keys/new").text
