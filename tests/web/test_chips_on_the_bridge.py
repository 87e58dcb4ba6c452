"""Chips on the real bridge: created with their session or not at all, paired, told by events, stopped, removed."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select

from tests.bridge.conftest import SECRET as BRIDGE_SECRET
from tests.bridge.conftest import (
    Backend,
    BridgeProcess,
    Edge,
    Gateway,
    announce,
    backend,
    edge,
    eventually,
    gateway,
    start_bridge,
)
from tests.factories import make_chip, make_ready_pool
from tests.web.api_setup import Caller, config, new_client, refused, sign_in
from whago.bridge.client import BridgeClient
from whago.domain.models import Assignment, Chip, ChipEvent, Engine
from whago.kit import clock
from whago.kit.db import transaction
from whago.main.embedded import free_port
from whago.web.app import create_app
from whago.web.attempts import Attempts

__all__ = ["backend", "edge", "gateway"]  # fixtures of the bridge's own tests

EVENTS = "/internal/bridge/events"


@dataclass
class Served:
    """The application behind a real port, and the bridge that posts its events there."""

    app: FastAPI
    client: BridgeClient
    process: BridgeProcess
    gateway: Gateway
    backend: Backend


@pytest.fixture(scope="module")
def _served(edge: Edge, gateway: Gateway, backend: Backend) -> Iterator[Served]:
    process = start_bridge(edge, gateway.address, backend.url)
    client = BridgeClient(process.url, BRIDGE_SECRET)
    yield Served(backend.app, client, process, gateway, backend)
    process.stop()
    client.close()


@pytest.fixture
def served(_served: Served, database: str) -> Iterator[Served]:
    _served.app.state.parts.attempts = Attempts(None)
    make_ready_pool()
    announce(_served.process)
    yield _served
    _served.gateway.refusal = None
    for chip in _served.client.list().items:
        _served.client.delete(chip.chip_id, logout=False)


@pytest.fixture
def owner(served: Served) -> Caller:
    return sign_in(served.app, plan="business")


def left_behind() -> int:
    with transaction() as db:
        tables = (Chip, Assignment, ChipEvent)
        return sum(db.scalar(select(func.count()).select_from(table)) or 0 for table in tables)


def status_of(owner: Caller, chip_id: str) -> str:
    return str(owner.get(f"/chips/{chip_id}").json()["status"])


def test_a_chip_is_created_paired_and_told_by_events(served: Served, owner: Caller, edge: Edge) -> None:
    answer = owner.post("/chips", {"alias": "vendas"})
    assert answer.status_code == 201, answer.text
    chip = answer.json()
    assert chip["gateway"] is None  # the bridge alone is told its credential
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "waiting_qr", "the QR code")
    pairing = owner.get(f"/chips/{chip['id']}/qr")
    assert pairing.status_code == 200
    assert pairing.json()["qr"].count(",") >= 3
    assert chip["id"] in served.client.get(UUID(chip["id"])).model_dump_json()  # type: ignore[union-attr]
    kinds = {event["kind"] for event in owner.get(f"/chips/{chip['id']}/events").json()["items"]}
    assert {"created", "proxy_assigned", "status_connecting", "status_waiting_qr"} <= kinds


def test_stopping_and_starting_again_keeps_the_proxy(served: Served, owner: Caller) -> None:
    chip = owner.post("/chips", {"alias": "a"}).json()
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "waiting_qr", "the QR code")
    stopped = owner.post(f"/chips/{chip['id']}/disconnect")
    assert stopped.status_code == 200, stopped.text
    assert stopped.json()["status"] == "disconnected"
    refused(owner.get(f"/chips/{chip['id']}/qr"), 404, "no_qr")
    again = owner.post(f"/chips/{chip['id']}/connect")
    assert again.status_code == 200, again.text
    assert again.json()["proxy"]["session_identifier"] == chip["proxy"]["session_identifier"]
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "waiting_qr", "the QR code again")


def test_connecting_what_runs_changes_nothing(served: Served, owner: Caller) -> None:
    chip = owner.post("/chips", {"alias": "a"}).json()
    with transaction() as db:
        before = db.scalar(select(Chip.gateway_token_hash))
    assert owner.post(f"/chips/{chip['id']}/connect").status_code == 200
    with transaction() as db:
        assert db.scalar(select(Chip.gateway_token_hash)) == before


def test_a_chip_that_waits_at_the_gateway_is_blocked_until_it_is_told(served: Served, owner: Caller) -> None:
    served.gateway.refusal = (402, "quota_exhausted")
    chip = owner.post("/chips", {"alias": "a"}).json()
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "blocked_quota", "the block")
    assert owner.get(f"/chips/{chip['id']}").json()["status_reason"] == "quota_exhausted"
    served.gateway.refusal = None
    assert owner.post(f"/chips/{chip['id']}/connect").status_code == 200
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "waiting_qr", "the QR code")


def test_a_removed_chip_is_gone_from_the_bridge(served: Served, owner: Caller) -> None:
    chip = owner.post("/chips", {"alias": "a"}).json()
    assert owner.delete(f"/chips/{chip['id']}").status_code == 204
    assert served.client.get(UUID(chip["id"])) is None
    refused(owner.get(f"/chips/{chip['id']}"), 404, "not_found")
    assert owner.post("/chips", {"alias": "a"}).status_code == 201  # the alias is free again


def test_a_bridge_that_does_not_answer_leaves_nothing(served: Served, owner: Caller) -> None:
    away = create_app(
        config(bridge=BridgeClient(f"http://127.0.0.1:{free_port()}", BRIDGE_SECRET), bridge_secret=BRIDGE_SECRET)
    )
    answer = new_client(away).post("/api/v1/chips", json={"alias": "a"}, headers=owner.headers)
    refused(answer, 503, "bridge_unavailable")
    assert left_behind() == 0
    assert owner.post("/chips", {"alias": "a"}).status_code == 201  # neither the alias nor the place is taken


def test_a_bridge_that_refuses_leaves_nothing(served: Served, owner: Caller) -> None:
    with BridgeClient(served.process.url, "another-secret-than-the-bridge-has") as stranger:
        app = create_app(config(bridge=stranger, bridge_secret=BRIDGE_SECRET))
        answer = new_client(app).post("/api/v1/chips", json={"alias": "a"}, headers=owner.headers)
    assert refused(answer, 502, "bridge_refused")["details"] == {"reason": "unauthorized"}
    assert left_behind() == 0
    assert served.client.list().items == []


def test_a_bridge_of_another_gateway_leaves_nothing(served: Served, owner: Caller) -> None:
    app = create_app(config(bridge=served.client, bridge_secret=BRIDGE_SECRET, gateway_address="elsewhere.example:1"))
    answer = new_client(app).post("/api/v1/chips", json={"alias": "a"}, headers=owner.headers)
    assert refused(answer, 502, "bridge_refused")["details"] == {"reason": "invalid_body"}
    assert "elsewhere" not in answer.text
    assert left_behind() == 0


# ---- what may be posted as an event ----


def event_of(chip_id: object, kind: str, seq: int, **chip: Any) -> dict[str, Any]:
    told = {
        "chip_id": str(chip_id),
        "state": "connecting",
        "since": "2026-11-15T12:00:00Z",
        "phone_number": None,
        "pairing": "qr",
        "history": "none",
        "attempt": 0,
        "last_error": None,
        "next_retry_at": None,
        "qr": None,
        "pairing_code": None,
        "expires_at": "2026-11-15T12:00:00Z",
    }
    return {
        "chip_id": str(chip_id),
        "boot_id": str(uuid4()),
        "seq": seq,
        "at": "2026-11-15T12:00:00Z",
        "kind": kind,
        "data": told | chip,
    }


def signed(body: bytes, *, secret: str = BRIDGE_SECRET, age_s: int = 0) -> dict[str, str]:
    timestamp = str(int(clock.now().timestamp()) - age_s)
    signature = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Authorization": f"Bearer {secret}",
        "Content-Type": "application/json",
        "X-Whago-Timestamp": timestamp,
        "X-Whago-Signature": f"v1={signature}",
    }


def post(served: Served, content: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> Any:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return new_client(served.app).post(EVENTS, content=body, headers=signed(body) if headers is None else headers)


@pytest.mark.parametrize(
    ("kind", "reason", "status"),
    [
        ("session.connecting", None, "connecting"),
        ("session.qr", None, "waiting_qr"),
        ("session.open", None, "connected"),
        ("session.backoff", "upstream_timeout", "connecting"),
        ("session.backoff", "no_healthy_proxy", "waiting_proxy"),
        ("session.connecting", "no_healthy_proxy", "waiting_proxy"),
        ("session.connecting", "upstream_refused", "connecting"),
        ("session.closed", None, "disconnected"),
        ("session.closed", "qr_expired", "disconnected"),
        ("session.closed", "forbidden", "error"),
        ("session.closed", "temporarily_banned", "error"),
        ("session.closed", "client_outdated", "error"),
        ("session.closed", "auth_unreadable", "error"),
        ("session.closed", "bridge_stopping", "connecting"),
        ("session.open", "phone_offline", "connected"),
        ("session.proxy_blocked", "quota_exhausted", "blocked_quota"),
        ("session.proxy_blocked", "no_healthy_proxy", "waiting_proxy"),
        ("session.proxy_blocked", "bad_credential", "error"),
        ("session.logged_out", "logged_out", "logged_out"),
        ("session.replaced", None, "disconnected"),
    ],
)
def test_each_event_is_one_status(served: Served, owner: Caller, kind: str, reason: str | None, status: str) -> None:
    chip = make_chip(owner.user, engine=Engine.EXTERNAL)
    error = {"layer": "wa", "code": 402, "reason": reason} if reason else None
    answer = post(served, event_of(chip.chip_id, kind, 5, last_error=error, phone_number="5511999990000"))
    assert (answer.status_code, answer.json()) == (200, {"taken": True})
    seen = owner.get(f"/chips/{chip.chip_id}").json()
    assert (seen["status"], seen["phone_number"]) == (status, "5511999990000")
    assert (seen["connected_at"] is not None) == (status == "connected")


def test_trying_again_for_hours_is_one_entry_of_the_history(served: Served, owner: Caller) -> None:
    chip = make_chip(owner.user)
    error = {"layer": "proxy", "code": 502, "reason": "upstream_refused"}
    for seq in range(1, 21):
        kind = "session.backoff" if seq % 2 else "session.connecting"
        post(served, event_of(chip.chip_id, kind, seq, last_error=error))
    events = owner.get(f"/chips/{chip.chip_id}/events").json()["items"]
    assert [event["data"] for event in events if event["kind"] == "status_connecting"] == [
        {"reason": "upstream_refused"}
    ]


def test_the_last_word_of_a_bridge_that_lost_the_chip_changes_nothing(served: Served, owner: Caller) -> None:
    chip_id = owner.post("/chips", {"alias": "a"}).json()["id"]
    eventually(lambda: status_of(owner, chip_id), lambda status: status == "waiting_qr", "the QR code")
    late = event_of(chip_id, "session.closed", 2**52) | {"epoch": 0}
    assert post(served, late).json() == {"taken": False}
    assert status_of(owner, chip_id) == "waiting_qr"


def test_thrift_is_changed_on_the_chip_that_runs(served: Served, owner: Caller) -> None:
    chip = owner.post("/chips", {"alias": "a"}).json()
    usual = {"history": "none", "keep_alive_s": 30, "status_posts": False}
    assert {name: chip["thrift"][name] for name in usual} == usual
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "waiting_qr", "the QR code")
    changed = owner.ask("PATCH", f"/chips/{chip['id']}", json={"thrift": {"keep_alive_s": 60}})
    assert changed.status_code == 200, changed.text
    assert changed.json()["thrift"] | usual == changed.json()["thrift"] | usual | {"keep_alive_s": 30}
    assert changed.json()["thrift"]["keep_alive_s"] == 60
    assert changed.json()["thrift"]["quiet_month_bytes"] < chip["thrift"]["quiet_month_bytes"]
    session = served.client.get(UUID(chip["id"]))
    assert session is not None
    assert session.keep_alive_s == 60
    refused(owner.ask("PATCH", f"/chips/{chip['id']}", json={"thrift": {"keep_alive_s": 5}}), 422, "invalid_input")
    kinds = [event["kind"] for event in owner.get(f"/chips/{chip['id']}/events").json()["items"]]
    assert kinds.count("thrift_changed") == 1


def test_a_chip_is_renamed_and_an_alias_is_unique(served: Served, owner: Caller) -> None:
    first, second = (make_chip(owner.user, alias=alias).chip_id for alias in ("um", "dois"))
    assert owner.ask("PATCH", f"/chips/{first}", json={"alias": "três"}).json()["alias"] == "três"
    refused(owner.ask("PATCH", f"/chips/{second}", json={"alias": "três"}), 409, "alias_taken")
    refused(owner.ask("PATCH", f"/chips/{first}", json={"thrift": {"history": "recent"}}), 409, "engine_external")


def test_a_code_pairs_instead_of_a_qr_code(served: Served, owner: Caller) -> None:
    chip_id = owner.post("/chips", {"alias": "a"}).json()["id"]
    eventually(lambda: status_of(owner, chip_id), lambda status: status == "waiting_qr", "the QR code")
    answer = owner.post(f"/chips/{chip_id}/pairing-code", {"phone": "+5511987654321"})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["pairing_code"]) == 8
    for phone in ("", "11 98765-4321", "0551198765", None):
        refused(owner.post(f"/chips/{chip_id}/pairing-code", {"phone": phone}), 422, "invalid_input")
    owner.post(f"/chips/{chip_id}/disconnect")
    asked = owner.post(f"/chips/{chip_id}/pairing-code", {"phone": "5511987654321"})
    assert refused(asked, 502, "bridge_refused")["details"] == {"reason": "not_pairing"}


def test_logging_out_forgets_the_pairing_and_keeps_chip_and_proxy(served: Served, owner: Caller) -> None:
    chip = owner.post("/chips", {"alias": "a"}).json()
    eventually(lambda: status_of(owner, chip["id"]), lambda status: status == "waiting_qr", "the QR code")
    answer = owner.post(f"/chips/{chip['id']}/logout")
    assert (answer.status_code, answer.json()) == (200, {"unlinked": False})  # it was not connected
    seen = owner.get(f"/chips/{chip['id']}").json()
    assert (seen["status"], seen["status_reason"]) == ("logged_out", "unlinked_by_user")
    assert seen["proxy"]["session_identifier"] == chip["proxy"]["session_identifier"]


def test_an_event_is_taken_once_and_in_order(served: Served, owner: Caller) -> None:
    chip = make_chip(owner.user)
    for kind, seq, taken in [
        ("session.open", 5, True),
        ("session.open", 5, False),
        ("session.closed", 4, False),
        ("session.closed", 6, True),
    ]:
        assert post(served, event_of(chip.chip_id, kind, seq)).json() == {"taken": taken}
    kinds = [event["kind"] for event in owner.get(f"/chips/{chip.chip_id}/events").json()["items"]]
    assert kinds[:2] == ["status_disconnected", "status_connected"]
    assert post(served, event_of(uuid4(), "session.open", 1)).json() == {"taken": False}


def test_only_the_bridge_may_tell_events(served: Served, owner: Caller) -> None:
    chip = make_chip(owner.user)
    body = json.dumps(event_of(chip.chip_id, "session.open", 9)).encode()
    good = signed(body)
    forged = [
        {},
        good | {"Authorization": "Bearer wrong"},
        good | {"X-Whago-Signature": "v1=" + "0" * 64},
        good | {"X-Whago-Signature": ""},
        good | {"X-Whago-Timestamp": "9" * 5_000},
        good | {"X-Whago-Timestamp": "-1"},
        signed(body + b" "),
        signed(body, secret="another secret"),
        signed(body, age_s=int(timedelta(minutes=10).total_seconds())),
        owner.headers,
    ]
    for headers in forged:
        refused(post(served, body, headers), 401, "not_authenticated")
    assert status_of(owner, str(chip.chip_id)) == "created"
    assert post(served, body, good).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "session.exploded"},
        {"seq": 2**70},
        {"seq": 0},
        {"chip_id": "x"},
        {"data": []},
        {"data": None},
    ],
)
def test_a_signed_event_of_nonsense_is_refused(served: Served, owner: Caller, change: dict[str, Any]) -> None:
    chip = make_chip(owner.user)
    refused(post(served, event_of(chip.chip_id, "session.open", 1) | change), 422, "invalid_input")
    refused(post(served, event_of(chip.chip_id, "session.open", 1, phone_number="9" * 30)), 422, "invalid_input")
    assert status_of(owner, str(chip.chip_id)) == "created"


def test_without_a_bridge_there_are_no_events(served: Served) -> None:
    app = create_app(config())
    answer = new_client(app).post(EVENTS, content=b"{}", headers=signed(b"{}"))
    refused(answer, 401, "not_authenticated")
