"""Channels through the API: made, changed, tried, confirmed, removed; and the log of deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from tests.factories import NOW, TZ
from tests.notify.office import Office, deliveries
from tests.receivers import customer, mail_server
from tests.web.api_setup import Caller, config, refused, sign_in
from whago.domain.actions.channels import CHANNELS_PER_USER, CODES_PER_DAY
from whago.domain.models import Severity, raise_alert
from whago.kit import clock
from whago.kit.db import transaction
from whago.notify.post_office import deliver_due
from whago.notify.signing import is_signed
from whago.web.app import create_app


def sent(office: Office) -> None:
    deliver_due(office.courier, now=clock.now, tz=TZ)


def hook_of(caller: Caller, **fields: Any) -> dict[str, Any]:
    answer = caller.post("/user/channels/webhook", {"name": "CRM", "url": "https://crm.example/hook"} | fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_everybody_begins_with_the_application_and_the_own_address(owner: Caller) -> None:
    first, second = owner.get("/user/channels").json()["items"]
    assert (first["kind"], first["address"], first["kinds"]) == ("in_app", None, None)
    assert (second["kind"], second["address"], second["is_confirmed"]) == ("email", owner.user.email, True)
    assert "quota_exhausted" in second["kinds"]
    assert "exit_ip_changed" not in second["kinds"]
    assert owner.get("/user/channels").json()["items"] == [first, second]


def test_the_secret_of_a_webhook_is_shown_once(owner: Caller) -> None:
    made = hook_of(owner)
    assert made["secret"].startswith("whsec_")
    for answer in (owner.get("/user/channels"), owner.get(f"/user/channels/{made['id']}")):
        assert made["secret"] not in answer.text


def test_a_channel_is_changed_as_a_whole(owner: Caller) -> None:
    made = hook_of(owner)
    wishes = {
        "name": "CRM at night",
        "kinds": ["quota_warning"],
        "events": ["chip.status_changed"],
        "thresholds": [95, 50],
        "quiet_from": "22:00",
        "quiet_to": "07:30",
        "time_zone": "America/Manaus",
        "is_active": False,
    }
    changed = owner.put(f"/user/channels/{made['id']}", wishes).json()
    assert {name: changed[name] for name in wishes} == wishes | {"thresholds": [50, 95]}
    assert changed["address"] == "https://crm.example/hook"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kinds", ["nothing"]),
        ("events", ["nothing"]),
        ("thresholds", [0]),
        ("thresholds", [201]),
        ("thresholds", list(range(1, 12))),
        ("quiet_from", "22:00"),
        ("quiet_to", "7"),
        ("time_zone", "Brasilia"),
        ("url", "ftp://crm.example/hook"),
        ("url", "https://user:secret@crm.example/"),
        ("url", "crm.example"),
        ("url", "https://crm.example:99999/"),
    ],
)
def test_what_is_wrong_with_a_channel_is_told_by_field(owner: Caller, field: str, value: Any) -> None:
    answer = owner.post("/user/channels/webhook", {"name": "x", "url": "https://crm.example/"} | {field: value})
    fields = refused(answer, 422, "invalid_input")["details"]["fields"]
    assert any(name.split(".")[0] in (field, "quiet_from", "quiet_to") for name in fields), fields
    assert "secret" not in answer.text
    assert len(owner.get("/user/channels").json()["items"]) == 2


def test_private_addresses_are_refused_where_the_settings_do_not_allow_them(database: str) -> None:
    closed = sign_in(create_app(config(allow_private_upstreams=False)), plan="business")
    for host in ("127.0.0.1", "10.1.2.3", "[::1]", "localhost", "db.internal", "169.254.169.254", "[::ffff:10.0.0.1]"):
        answer = closed.post("/user/channels/webhook", {"name": "x", "url": f"http://{host}:8080/hook"})
        refused(answer, 422, "private_upstream")


def test_another_address_gets_nothing_until_its_code_was_given(app: FastAPI, owner: Caller) -> None:
    with mail_server() as mail:
        office = Office(mail)
        made = owner.post("/user/channels/email", {"name": "Boss", "address": "Boss@Example.com"}).json()
        assert (made["address"], made["is_confirmed"]) == ("boss@example.com", False)
        refused(owner.post(f"/user/channels/{made['id']}/test"), 422, "invalid_input")
        sent(office)
        (letter,) = mail.messages
        assert letter["To"] == "boss@example.com"
        text = letter.get_body(("plain",))
        assert text is not None
        code = next(line.strip() for line in text.get_content().splitlines() if line.startswith("    "))

        office.alert(owner.user, now=clock.now())
        sent(office)
        assert [one["To"] for one in mail.messages[1:]] == [owner.user.email]

        refused(owner.post(f"/user/channels/{made['id']}/confirm", {"code": "22222-22222"}), 422, "invalid_input")
        assert owner.post(f"/user/channels/{made['id']}/confirm", {"code": code.lower()}).json()["is_confirmed"]
        office.alert(owner.user, subject="second", now=clock.now())
        sent(office)
        assert sorted(str(one["To"]) for one in mail.messages[2:]) == sorted(["boss@example.com", owner.user.email])


def test_codes_to_strangers_are_few(owner: Caller) -> None:
    made = owner.post("/user/channels/email", {"name": "Boss", "address": "boss@example.com"}).json()
    for _ in range(CODES_PER_DAY - 1):
        assert owner.post(f"/user/channels/{made['id']}/confirm/again").status_code == 202
    refused(owner.post(f"/user/channels/{made['id']}/confirm/again"), 422, "invalid_input")
    owner.delete(f"/user/channels/{made['id']}")
    refused(owner.post("/user/channels/email", {"name": "B", "address": "b@example.com"}), 422, "invalid_input")


def test_channels_are_few(owner: Caller) -> None:
    for _ in range(CHANNELS_PER_USER - 2):
        hook_of(owner)
    answer = owner.post("/user/channels/webhook", {"name": "x", "url": "https://crm.example/"})
    refused(answer, 422, "invalid_input")


def test_the_application_can_be_made_quieter_but_not_removed(owner: Caller) -> None:
    first = owner.get("/user/channels").json()["items"][0]
    refused(owner.delete(f"/user/channels/{first['id']}"), 422, "invalid_input")
    refused(owner.put(f"/user/channels/{first['id']}", {"name": "WHAGO", "is_active": False}), 422, "invalid_input")
    assert owner.put(f"/user/channels/{first['id']}", {"name": "WHAGO", "kinds": []}).status_code == 200
    with transaction() as db:
        for kind in ("chip_waiting_proxy", "proxy_failed_over"):
            raise_alert(db, kind, "x", now=NOW, severity=Severity.INFO, user_id=owner.user.id, data={"alias": "vendas"})
    assert owner.get("/notifications").json() == {"items": [], "next_cursor": None, "unread_count": 0}


def test_a_renewed_secret_signs_at_once_and_the_old_one_for_a_day(owner: Caller) -> None:
    with customer() as receiver, mail_server() as mail:
        office = Office(mail)
        made = hook_of(owner, url=receiver.url)
        renewed = owner.post(f"/user/channels/{made['id']}/secret/renew").json()
        assert renewed["secret"] != made["secret"]
        owner.post(f"/user/channels/{made['id']}/test")
        sent(office)
        (call,) = receiver.calls
        for secret in (made["secret"], renewed["secret"]):
            assert is_signed(secret, call.body, call.headers["x-whago-signature"], clock.now())
        owner.post(f"/user/channels/{made['id']}/test")
        tomorrow = clock.now() + timedelta(hours=25)
        deliver_due(office.courier, now=lambda: tomorrow, tz=TZ)
        late = receiver.calls[1]
        assert is_signed(renewed["secret"], late.body, late.headers["x-whago-signature"], tomorrow)
        assert not is_signed(made["secret"], late.body, late.headers["x-whago-signature"], tomorrow)


def test_the_log_tells_every_attempt_with_what_the_receiver_said(owner: Caller) -> None:
    with customer() as receiver, mail_server() as mail:
        office = Office(mail)
        made = hook_of(owner, url=receiver.url)
        receiver.answers.append((500, {}, "não deu\x00".encode()))
        told = owner.post(f"/user/channels/{made['id']}/test").json()
        sent(office)
        owner.post(f"/user/channels/{made['id']}/test")
        sent(office)
        second, first = owner.get(f"/user/channels/{made['id']}/deliveries").json()["items"]
        assert (first["id"], first["state"], first["error"]) == (told["delivery_id"], "failed", "status")
        assert [(one["status"], one["excerpt"]) for one in first["attempts"]] == [(500, "não deu")]
        assert (second["kind"], second["state"], second["attempts"][0]["outcome"]) == ("test", "sent", "sent")
        page = owner.get(f"/user/channels/{made['id']}/deliveries", params={"limit": 1}).json()
        assert page["items"] == [second]
        rest = owner.get(f"/user/channels/{made['id']}/deliveries", params={"cursor": page["next_cursor"]}).json()
        assert rest == {"items": [first], "next_cursor": None}
    assert {one.state for one in deliveries()} == {"failed", "sent"}
