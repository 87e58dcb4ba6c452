"""The shapes that clients rely on, to the letter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select

from tests.factories import make_chip, make_plan
from tests.web.api_setup import Caller, new_client, refused, sign_in
from whago.domain.actions.gateways import register_boot
from whago.domain.actions.record_usage import MeteredUsage, record_usage
from whago.domain.models import Assignment, Notification, Provider, Proxy, User
from whago.domain.rules.months import usage_hour
from whago.kit import clock
from whago.kit.db import transaction
from whago.kit.ids import new_id

TZ = ZoneInfo("America/Sao_Paulo")
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def move_bytes(user: User, chip_id: UUID, count: int) -> None:
    """Through the real report of a gateway."""
    boot, now = new_id(), clock.now()
    register_boot(boot, host="test", pid=1, port=1, now=now)
    with transaction() as db:
        assignment = db.scalars(select(Assignment).where(Assignment.chip_id == chip_id)).one()
        price = db.scalar(select(Provider.current_price_id).where(Provider.id == assignment.provider_id))
    usage = MeteredUsage(
        tunnel_id=1,
        user_id=user.id,
        chip_id=chip_id,
        proxy_id=assignment.proxy_id,
        assignment_id=assignment.id,
        price_id=price or 0,
        hour=usage_hour(now, TZ),
        bytes_up=0,
        bytes_down=count,
        overhead=0,
        started_at=now,
        last_at=now,
    )
    record_usage(boot, [usage], now=now, tz=TZ, is_last=True)


def test_a_chip_for_an_external_engine(owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    answer = owner.post("/chips", {"alias": "  vendas 1 ", "engine": "external"})
    assert answer.status_code == 201, answer.text
    chip = answer.json()
    assert chip["alias"] == "vendas 1"
    assert chip["status"] == "created"
    assert chip["phone_number"] is chip["connected_at"] is chip["last_activity_at"] is None
    assert UTC_TIME.fullmatch(chip["created_at"])
    proxy = chip["proxy"]
    assert set(proxy) == {
        "provider", "region", "proxy_type", "health_score", "session_identifier", "exit_ip", "assigned_at",
        "expected_exit_ip", "paused_at",
    }  # fmt: skip
    assert proxy["provider"] == pool[0].name
    assert proxy["session_identifier"] == f"chip-{chip['id']}"
    assert chip["usage"] == {"bytes_month": 0}
    gateway = chip["gateway"]
    found = re.fullmatch(rf"http://{chip['id']}:([\w-]{{43}})@gate\.example:3128", gateway["proxy_url"])
    assert found
    assert gateway["socks5_url"] == f"socks5h://{chip['id']}:{found[1]}@gate.example:3128"
    shown = owner.get(f"/chips/{chip['id']}").json()
    assert "gateway" not in shown
    assert shown == {name: value for name, value in chip.items() if name != "gateway"}
    assert owner.get("/chips").json() == {"items": [shown], "next_cursor": None}


def test_a_rotated_gateway_credential_is_a_new_one(owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    chip = owner.post("/chips", {"alias": "a", "engine": "external"}).json()
    rotated = owner.post(f"/chips/{chip['id']}/gateway/rotate")
    assert rotated.status_code == 200
    assert rotated.json()["gateway"]["proxy_url"] != chip["gateway"]["proxy_url"]


def test_rotating_the_proxy_gives_a_new_identifier_and_is_recorded(owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    chip = owner.post("/chips", {"alias": "a", "engine": "external"}).json()
    rotated = owner.post(f"/chips/{chip['id']}/rotate-proxy").json()
    assert rotated["proxy"]["session_identifier"] == f"chip-{chip['id']}-1"
    past = owner.get(f"/chips/{chip['id']}/assignments").json()["items"]
    assert [one["released_at"] is None for one in past] == [True, False]
    kinds = [event["kind"] for event in owner.get(f"/chips/{chip['id']}/events").json()["items"]]
    assert kinds == ["proxy_assigned", "proxy_released", "proxy_assigned", "created"]


def test_the_month_before_anything_was_used(owner: Caller) -> None:
    usage = owner.get("/user/proxy/usage").json()
    assert set(usage) == {
        "bytes_used", "gb_used", "cost", "limit_gb", "percentage_used", "month", "state", "as_of", "projected_gb",
        "resets_at",
    }  # fmt: skip
    assert usage["bytes_used"] == 0
    assert isinstance(usage["gb_used"], int | float)
    assert isinstance(usage["cost"], str)
    assert Decimal(usage["cost"]) == 0
    assert Decimal(usage["limit_gb"]) == 1
    assert usage["percentage_used"] == 0
    assert usage["state"] == "ok"
    assert re.fullmatch(r"\d{4}-\d\d-01", usage["month"])
    for name in ("as_of", "resets_at"):
        assert UTC_TIME.fullmatch(usage[name])
    assert datetime.fromisoformat(usage["resets_at"]).astimezone(TZ).strftime("%d %H:%M:%S") == "01 00:00:00"


def test_cost_is_bytes_times_price_exactly(owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    chip = make_chip(owner.user)
    move_bytes(owner.user, chip.chip_id, 123_456_789)
    usage = owner.get("/user/proxy/usage").json()
    assert usage["bytes_used"] == 123_456_789
    assert Decimal(usage["cost"]) == Decimal(123_456_789) * Decimal("25") / 10**9
    assert usage["gb_used"] == pytest.approx(0.123456789)
    assert usage["percentage_used"] == pytest.approx(12.35)
    assert owner.get(f"/chips/{chip.chip_id}").json()["usage"] == {"bytes_month": 123_456_789}
    of_chip = owner.get(f"/chips/{chip.chip_id}/usage").json()
    assert of_chip["bytes_month"] == sum(point["bytes"] for point in of_chip["items"]) == 123_456_789


@pytest.mark.parametrize(
    ("count", "state"), [(799_999_999, "ok"), (800_000_000, "warning"), (1_000_000_000, "blocked")]
)
def test_the_state_follows_the_thresholds(owner: Caller, pool: tuple[Provider, Proxy], count: int, state: str) -> None:
    move_bytes(owner.user, make_chip(owner.user).chip_id, count)
    assert owner.get("/user/proxy/usage").json()["state"] == state


def test_an_unlimited_plan_has_no_limit_and_no_percentage(app: FastAPI, pool: tuple[Provider, Proxy]) -> None:
    unlimited = sign_in(app, plan=make_plan(proxy_gb_limit=None))
    move_bytes(unlimited.user, make_chip(unlimited.user).chip_id, 10**10)
    usage = unlimited.get("/user/proxy/usage").json()
    assert (usage["limit_gb"], usage["percentage_used"], usage["state"]) == (None, 0, "ok")


def test_the_series_adds_up_to_the_month(owner: Caller, outsider: Caller, pool: tuple[Provider, Proxy]) -> None:
    one, other = make_chip(owner.user, alias="one"), make_chip(owner.user, alias="other")
    move_bytes(owner.user, one.chip_id, 1_000)
    move_bytes(owner.user, other.chip_id, 500)
    move_bytes(outsider.user, make_chip(outsider.user).chip_id, 7)
    for granularity in ("hour", "day"):
        total = owner.get("/user/proxy/usage/series", params={"granularity": granularity}).json()
        assert [point["bytes"] for point in total["items"]] == [1_500]
        assert UTC_TIME.fullmatch(total["items"][0]["at"])
    chips = owner.get("/user/proxy/usage/series", params={"by": "chip"}).json()
    assert {point["label"]: point["bytes"] for point in chips["items"]} == {"one": 1_000, "other": 500}
    providers = owner.get("/user/proxy/usage/series", params={"by": "provider"}).json()
    assert [(point["label"], point["bytes"]) for point in providers["items"]] == [(pool[0].name, 1_500)]
    assert sum(Decimal(point["cost"]) for point in chips["items"]) == Decimal(1_500) * 25 / 10**9


def test_days_of_the_series_are_days_of_the_billing_zone(owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    move_bytes(owner.user, make_chip(owner.user).chip_id, 1)
    point = owner.get("/user/proxy/usage/series", params={"granularity": "day"}).json()["items"][0]
    assert datetime.fromisoformat(point["at"]).astimezone(TZ).strftime("%H:%M") == "00:00"


@pytest.mark.parametrize(
    "params",
    [
        {"from": "2026-11-02T00:00:00Z", "to": "2026-11-01T00:00:00Z"},
        {"from": "2026-01-01T00:00:00Z", "to": "2026-11-01T00:00:00Z", "granularity": "hour"},
        {"from": "2026-11-01T00:00:00"},
        {"from": "0001-01-01T00:00:00Z"},
        {"from": "9999-12-31T23:59:59-23:59"},
        {"from": "tomorrow"},
        {"granularity": "minute"},
        {"by": "user"},
    ],
)
def test_a_series_of_nonsense_is_refused(owner: Caller, params: dict[str, str]) -> None:
    refused(owner.get("/user/proxy/usage/series", params=params), 422, "invalid_input")


def test_plans_are_open_to_everybody(app: FastAPI) -> None:
    plans = new_client(app).get("/api/v1/plans").json()
    assert [(plan["slug"], plan["price"], plan["max_chips"]) for plan in plans["items"]] == [
        ("free", "0.00", 1), ("business", "97.00", 3), ("enterprise", "297.00", 10),
    ]  # fmt: skip
    assert [Decimal(plan["proxy_gb_limit"]) for plan in plans["items"]] == [Decimal("0.1"), 1, 5]


def test_notifications_are_told_and_marked(owner: Caller, outsider: Caller, pool: tuple[Provider, Proxy]) -> None:
    move_bytes(owner.user, make_chip(owner.user).chip_id, 1_000_000_000)
    answer = owner.get("/notifications").json()
    assert answer["unread_count"] == 2
    assert {one["kind"] for one in answer["items"]} == {"quota_warning", "quota_exhausted"}
    one = answer["items"][0]
    assert set(one) == {"id", "kind", "level", "title", "message", "data", "created_at", "read_at"}
    warning = next(one for one in answer["items"] if one["kind"] == "quota_warning")
    assert warning["level"] == "warning"
    assert warning["message"].startswith("You have used 1 GB of the 1 GB of your plan")
    portuguese = owner.get("/notifications", headers={"Accept-Language": "pt-BR"}).json()["items"]
    assert next(one for one in portuguese if one["kind"] == "quota_warning")["title"] == "80% da cota de proxy usada"
    assert not any(sign in one["title"] + one["message"] for one in answer["items"] + portuguese for sign in "{}")
    assert outsider.post("/notifications/mark-read", {"ids": [warning["id"]]}).json() == {"marked": 0}
    assert owner.post("/notifications/mark-read", {"ids": [warning["id"]]}).json() == {"marked": 1}
    unread = owner.get("/notifications", params={"unread_only": True}).json()
    assert [one["kind"] for one in unread["items"]] == ["quota_exhausted"]
    assert owner.post("/notifications/mark-all-read").json() == {"marked": 1}
    assert owner.get("/notifications").json()["unread_count"] == 0


def test_a_list_in_pages_tells_everything_once(owner: Caller) -> None:
    now = clock.now()
    rows = [
        {
            "user_id": owner.user.id, "kind": "k", "level": "info", "dedupe_key": f"{n}", "data": {},
            "created_at": now - timedelta(seconds=n // 3),  # three of a kind: the order must not hang on time alone
        }
        for n in range(25)
    ]  # fmt: skip
    with transaction() as db:
        db.execute(insert(Notification), rows)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = owner.get("/notifications", params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        assert len(page["items"]) == 4
    assert len(seen) == len(set(seen)) == 25


@pytest.mark.parametrize(
    "cursor", ["", "x", "AAAA", "bnVsbA", "W10", "WzEsMl0", "WyJ4IiwieSJd", "é", "W" * 1_001, "WyIyMDI2LTExLTAxIiwgMV0"]
)
@pytest.mark.parametrize("path", ["/chips", "/notifications", "/api-keys", "/plans"])
def test_a_cursor_of_nonsense_is_refused(owner: Caller, path: str, cursor: str) -> None:
    assert "cursor" in refused(owner.get(path, params={"cursor": cursor}), 422, "invalid_input")["details"]["fields"]


@pytest.mark.parametrize("limit", ["0", "201", "-1", "many", "9" * 5_000])
def test_a_page_has_its_bounds(owner: Caller, limit: str) -> None:
    refused(owner.get("/chips", params={"limit": limit}), 422, "invalid_input")


def test_what_cannot_be_created_says_why_and_leaves_nothing(
    owner: Caller, app: FastAPI, pool: tuple[Provider, Proxy], admin: Caller
) -> None:
    free = sign_in(app)
    assert free.post("/chips", {"alias": "a", "engine": "external"}).status_code == 201
    found = refused(free.post("/chips", {"alias": "b", "engine": "external"}), 403, "chip_limit")
    assert found["details"] == {"chips": 1, "max_chips": 1}
    owner.post("/chips", {"alias": "a", "engine": "external"})
    refused(owner.post("/chips", {"alias": "a", "engine": "external"}), 409, "alias_taken")
    move_bytes(owner.user, UUID(owner.get("/chips").json()["items"][0]["id"]), 1_000_000_000)
    found = refused(owner.post("/chips", {"alias": "b", "engine": "external"}), 402, "quota_exhausted")
    assert found["details"] == {"used_bytes": 1_000_000_000, "limit_bytes": 1_000_000_000}
    assert admin.put(f"/admin/proxies/pool/{pool[1].id}", {"is_active": False}).status_code == 200
    other = sign_in(app, plan="business")
    answer = other.post("/chips", {"alias": "a", "engine": "external"})
    refused(answer, 503, "no_healthy_proxy")
    assert int(answer.headers["retry-after"]) > 0
    assert other.get("/chips").json()["items"] == []


def test_no_bridge_no_chip_on_it(owner: Caller, pool: tuple[Provider, Proxy]) -> None:
    refused(owner.post("/chips", {"alias": "a"}), 503, "bridge_unavailable")
    assert owner.get("/chips").json()["items"] == []
    with transaction() as db:
        assert db.scalars(select(Assignment)).all() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"alias": ""},
        {"alias": " \t "},
        {"alias": "x" * 121},
        {"alias": "nul\0"},
        {"alias": "line\nbreak"},
        {"alias": 5},
        {"alias": None},
        {"alias": "a", "engine": "rocket"},
        {"alias": "a", "region": "r" * 41},
        {"alias": "a", "plan": "enterprise"},
        {"alias": "a", "user_id": "00000000-0000-0000-0000-000000000001"},
        [],
        "a",
        None,
    ],
)
def test_a_chip_needs_a_decent_body(owner: Caller, pool: tuple[Provider, Proxy], body: Any) -> None:
    refused(owner.post("/chips", body), 422, "invalid_input")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b'{"alias": "\\ud800", "engine": "external"}', "application/json"),
        (b'{"\\ud800": 1, "alias": "a", "engine": "external"}', "application/json"),
        (b'{"self": 1, "alias": "a", "engine": "external"}', "application/json"),
        (b'{"alias": "\xff"}', "application/json"),
        (b'{"alias": ' + b"9" * 5_000 + b"}", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"alias": "a"}', "text/plain"),
        (b"alias=a", "application/x-www-form-urlencoded"),
        (b'{"alias": "' + b"x" * 1_100_000 + b'"}', "application/json"),
    ],
)
def test_a_broken_body_is_refused_and_never_breaks_the_server(owner: Caller, content: bytes, kind: str) -> None:
    answer = owner.ask("POST", "/chips", content=content, headers={"Content-Type": kind})
    refused(answer, 422, "invalid_input")


def test_a_refusal_names_the_field_and_what_would_be_right(owner: Caller) -> None:
    def told(content: bytes) -> Any:
        headers = {"Content-Type": "application/json", "Accept-Language": "pt-BR"}
        return owner.ask("POST", "/chips", content=content, headers=headers).json()["error"]["details"]["fields"]

    assert told(b"{") == {"body": "O corpo não é um JSON válido."}
    assert told(b'{"alias": " "}') == {"alias": "Este campo é obrigatório."}
    assert told(b'{"alias": "a", "engine": "x"}') == {"engine": "Espera-se um destes: 'bridge', 'external'."}


def test_a_body_of_unknown_length_is_cut_off_too(owner: Caller) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"alias": "'
        for _ in range(200):
            yield b"x" * 10_000
        yield b'"}'

    answer = owner.ask("POST", "/chips", content=endless(), headers={"Content-Type": "application/json"})
    refused(answer, 422, "invalid_input")


def test_fifty_chips_at_once_stay_within_the_plan(app: FastAPI, pool: tuple[Provider, Proxy]) -> None:
    buyer = sign_in(app, plan="enterprise")

    def create(number: int) -> int:
        body = {"alias": f"chip {number}", "engine": "external"}
        return new_client(app).post("/api/v1/chips", json=body, headers=buyer.headers).status_code

    with ThreadPoolExecutor(16) as threads:
        statuses = sorted(threads.map(create, range(50)))
    assert statuses == [201] * 10 + [403] * 40
    with transaction() as db:
        assert len(db.scalars(select(Assignment)).all()) == 10


def test_every_answer_carries_the_headers_that_browsers_need(app: FastAPI, owner: Caller) -> None:
    for path in ("/api/v1/chips", "/api/v1/nothing", "/healthz", "/api/openapi.json"):
        headers = new_client(app).get(path, headers=owner.headers).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-request-id"]


def test_a_bug_is_answered_without_its_inside(app: FastAPI, owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object, **_more: object) -> None:
        raise RuntimeError("postgresql://secret@host")

    monkeypatch.setattr("whago.web.api.chips.list_chips", broken)
    answer = owner.get("/chips")
    found = refused(answer, 500, "internal")
    assert found["details"] == {"request_id": answer.headers["x-request-id"]}
    assert "secret" not in answer.text


def test_metrics_count_requests_by_route(app: FastAPI, owner: Caller) -> None:
    chip = new_id()
    owner.get(f"/chips/{chip}")
    text = new_client(app).get("/metrics").text
    assert 'whago_web_requests_total{method="GET",route="/api/v1/chips/{chip_id}",status="404"}' in text
    assert str(chip) not in text
