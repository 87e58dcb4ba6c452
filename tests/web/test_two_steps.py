"""Two-step sign-in through the API and the pages: set up, sign in, guess, lose, and be made to have it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.web.api_setup import PASSWORD, Caller, new_client, refused, sign_in
from tests.web.page_setup import part, text_of, visitor
from whago.domain.rules.totp import code_at, step_at
from whago.kit import clock
from whago.kit.ids import new_id
from whago.web.attempts import CODES, Attempts
from whago.web.deps import current_time
from whago.web.security import CHALLENGE_LASTS

LOGIN = "/api/v1/auth/login"


class Phone:
    """An authenticator app, and a clock that goes on two steps for every code, since a code is good once."""

    def __init__(self, app: FastAPI, secret: str) -> None:
        self.app, self.secret, self.now = app, secret, clock.now()
        app.dependency_overrides[current_time] = lambda: self.now

    def code(self) -> str:
        self.now += timedelta(minutes=1)
        return code_at(self.secret, step_at(self.now))


@pytest.fixture
def phones(app: FastAPI) -> Iterator[Any]:
    yield lambda secret: Phone(app, secret)
    app.dependency_overrides.clear()


def set_up(caller: Caller, phones: Any) -> tuple[Phone, list[str]]:
    begun = caller.post("/auth/totp", {"current_password": PASSWORD})
    assert begun.status_code == 201, begun.text
    phone = phones(begun.json()["secret"])
    done = caller.post("/auth/totp/confirm", {"totp": phone.code()})
    assert done.status_code == 200, done.text
    return phone, done.json()["recovery_codes"]


def login(app: FastAPI, caller: Caller, **more: Any) -> Any:
    return new_client(app).post(LOGIN, json={"email": caller.user.email, "password": PASSWORD} | more)


def test_setting_it_up_shows_secret_and_recovery_codes_once(owner: Caller, phones: Any) -> None:
    refused(owner.post("/auth/totp", {"current_password": "not it"}), 422, "invalid_input")
    begun = owner.post("/auth/totp", {"current_password": PASSWORD}).json()
    assert begun["otpauth_uri"].startswith("otpauth://totp/WHAGO:")
    assert begun["qr"].startswith("data:image/svg+xml")
    assert owner.get("/auth/totp").json()["is_enabled"] is False
    refused(owner.post("/auth/totp/confirm", {"totp": "000000"}), 422, "invalid_input")
    phone = phones(begun["secret"])
    codes = owner.post("/auth/totp/confirm", {"totp": phone.code()}).json()["recovery_codes"]
    told = owner.get("/auth/totp")
    assert (told.json()["is_enabled"], told.json()["recovery_codes_left"]) == (True, len(codes))
    assert begun["secret"] not in told.text
    assert owner.get("/auth/me").json()["has_totp"] is True
    refused(owner.post("/auth/totp", {"current_password": PASSWORD}), 409, "totp_on")


def test_signing_in_takes_two_steps(app: FastAPI, owner: Caller, phones: Any) -> None:
    phone, _codes = set_up(owner, phones)
    client = new_client(app)
    first = client.post(LOGIN, json={"email": owner.user.email, "password": PASSWORD})
    details = refused(first, 401, "totp_required")["details"]
    assert set(details) == {"challenge", "expires_in_s"}
    assert "set-cookie" not in first.headers
    refused(client.post(LOGIN, json={"challenge": details["challenge"], "totp": "000000"}), 401, "bad_totp")
    code = phone.code()
    done = client.post(LOGIN, json={"challenge": details["challenge"], "totp": code})
    assert done.status_code == 200, done.text
    assert set(done.json()) == {"user", "tokens"}
    assert client.get("/api/v1/auth/me").status_code == 200
    refused(
        client.post(LOGIN, json={"challenge": details["challenge"], "totp": phone.code()}), 401, "challenge_expired"
    )
    refused(login(app, owner, totp=code), 401, "bad_totp")  # the same step again


def test_password_and_code_may_come_together(app: FastAPI, owner: Caller, outsider: Caller, phones: Any) -> None:
    phone, codes = set_up(owner, phones)
    assert login(app, owner, totp=phone.code()).status_code == 200
    assert login(app, owner, totp=codes[0].lower()).status_code == 200
    refused(login(app, owner, totp=codes[0]), 401, "bad_totp")
    refused(login(app, owner, totp=codes[1], password="not the password"), 401, "bad_login")
    assert login(app, outsider, totp="123456").status_code == 200  # nothing to pass: nothing is asked


def test_a_challenge_is_good_for_its_account_and_five_minutes(app: FastAPI, owner: Caller, phones: Any) -> None:
    phone, _codes = set_up(owner, phones)
    challenge = refused(login(app, owner), 401, "totp_required")["details"]["challenge"]
    body, _, signature = challenge.partition(".")[2].partition(".")
    forged = challenge.replace(body, base64.urlsafe_b64encode(b'{"sub":"x"}').decode().rstrip("="))
    access = owner.headers["Authorization"].removeprefix("Bearer ")
    for token in (forged, access, "nonsense", signature):
        refused(new_client(app).post(LOGIN, json={"challenge": token, "totp": phone.code()}), 401, "challenge_expired")
    bearer = {"Authorization": f"Bearer {challenge}"}
    refused(new_client(app).get("/api/v1/auth/me", headers=bearer), 401, "not_authenticated")
    phone.now += CHALLENGE_LASTS
    refused(new_client(app).post(LOGIN, json={"challenge": challenge, "totp": phone.code()}), 401, "challenge_expired")


def test_a_new_password_kills_the_challenges_before(app: FastAPI, owner: Caller, phones: Any) -> None:
    phone, _codes = set_up(owner, phones)
    challenge = refused(login(app, owner), 401, "totp_required")["details"]["challenge"]
    changed = owner.post("/auth/password", {"current_password": PASSWORD, "new_password": "another-password-1"})
    assert changed.status_code == 200
    refused(new_client(app).post(LOGIN, json={"challenge": challenge, "totp": phone.code()}), 401, "challenge_expired")


def test_guessing_codes_is_stopped_wherever_they_are_asked_for(app: FastAPI, owner: Caller, phones: Any) -> None:
    phone, codes = set_up(owner, phones)
    answers = [login(app, owner, totp="000000") for _ in range(CODES.amount + 1)]
    assert [one.status_code for one in answers] == [401] * CODES.amount + [429]
    refused(login(app, owner, totp=phone.code()), 429, "too_many_attempts")
    proof = {"current_password": PASSWORD, "totp": codes[0]}
    refused(owner.post("/auth/totp/disable", proof), 429, "too_many_attempts")
    refused(owner.post("/auth/totp/recovery-codes", proof), 429, "too_many_attempts")


def test_web_processes_count_codes_together(broker_url: str) -> None:
    processes, user_id = [Attempts(broker_url), Attempts(broker_url)], new_id()
    for n in range(CODES.amount):
        processes[n % 2].before_code(user_id)
    with pytest.raises(Exception, match="Too many attempts"):
        processes[0].before_code(user_id)
    processes[1].code_accepted(user_id)
    processes[0].before_code(user_id)


def test_turning_it_off_wants_password_and_code(app: FastAPI, owner: Caller, phones: Any) -> None:
    phone, _codes = set_up(owner, phones)
    refused(owner.post("/auth/totp/disable", {"current_password": "x", "totp": phone.code()}), 422, "invalid_input")
    refused(owner.post("/auth/totp/disable", {"current_password": PASSWORD}), 422, "invalid_input")
    wrong = owner.post("/auth/totp/disable", {"current_password": PASSWORD, "totp": "000000"})
    assert list(refused(wrong, 422, "invalid_input")["details"]["fields"]) == ["totp"]
    assert owner.post("/auth/totp/disable", {"current_password": PASSWORD, "totp": phone.code()}).status_code == 204
    assert login(app, owner).status_code == 200


def test_new_recovery_codes_for_old(app: FastAPI, owner: Caller, phones: Any) -> None:
    phone, codes = set_up(owner, phones)
    fresh = owner.post("/auth/totp/recovery-codes", {"current_password": PASSWORD, "totp": phone.code()})
    assert fresh.status_code == 201
    refused(login(app, owner, totp=codes[0]), 401, "bad_totp")
    assert login(app, owner, totp=fresh.json()["recovery_codes"][0]).status_code == 200


def test_a_forgotten_password_does_not_go_around_it(app: FastAPI, owner: Caller, phones: Any) -> None:
    from whago.domain.actions.password_resets import ask_for_reset, claim_reset_letters

    phone, _codes = set_up(owner, phones)
    ask_for_reset(owner.user.email, language=None, now=phone.now)
    (letter,) = claim_reset_letters(now=phone.now)
    body = {"token": letter.token, "new_password": "another-password-1"}
    assert new_client(app).post("/api/v1/auth/reset-password", json=body).status_code == 204
    refused(login(app, owner, password="another-password-1"), 401, "totp_required")


def test_an_administrator_resets_a_colleagues_and_not_their_own(app: FastAPI, admin: Caller, phones: Any) -> None:
    colleague = sign_in(app, role="support")
    set_up(colleague, phones)
    refused(admin.post(f"/admin/users/{admin.id}/totp/reset"), 409, "own_account")
    refused(colleague.post(f"/admin/users/{admin.id}/totp/reset"), 403, "forbidden")
    phones("A" * 32)  # an hour passes for nobody: the clock of the requests is the test's
    assert admin.post(f"/admin/users/{colleague.id}/totp/reset").status_code == 204
    refused(colleague.get("/auth/me"), 401, "not_authenticated")
    assert login(app, colleague).status_code == 200
    actions = [one["action"] for one in admin.get("/admin/audit-log").json()["items"]]
    assert actions[:2] == ["totp.reset", "totp.enable"]


@pytest.fixture
def strict(app: FastAPI) -> Iterator[FastAPI]:
    """An installation that asks the house for the second factor."""
    before = app.state.parts.config
    app.state.parts.config = replace(before, require_staff_totp=True)
    yield app
    app.state.parts.config = before


@pytest.mark.parametrize("role", ["admin", "support", "finance"])
def test_who_needs_it_is_led_there_and_nowhere_else(strict: FastAPI, phones: Any, role: str) -> None:
    person = sign_in(strict, role=role)
    browser = visitor(strict, person.user, "en")
    for path in ("/admin", "/admin/reports", "/dashboard", "/chips", "/settings"):
        assert browser.get(path).headers["Location"] == "/settings/security"
    assert part(browser, "/dashboard/usage").status_code == 403
    refused(person.get("/chips"), 403, "totp_setup_required")
    assert "Your role needs two-step sign-in." in text_of(browser.get("/settings/security").text)
    assert person.get("/auth/totp").json()["is_required"] is True
    set_up(person, phones)
    assert person.get("/chips").status_code == 200


def test_customers_and_their_keys_are_not_asked_for_it(strict: FastAPI, owner: Caller) -> None:
    assert owner.get("/chips").status_code == 200
    assert visitor(strict, owner.user).get("/dashboard").status_code == 200


def test_a_key_of_somebody_who_needs_it_waits_too(strict: FastAPI, app: FastAPI) -> None:
    from whago.domain.actions.api_keys import create_api_key

    person = sign_in(app, role="admin")
    key = create_api_key(person.user.id, "x", now=clock.now()).key
    refused(new_client(app).get("/api/v1/admin/users", headers={"X-API-Key": key}), 403, "totp_setup_required")


def test_the_page_tells_what_is_on_and_who_is_signed_in(app: FastAPI, owner: Caller, phones: Any) -> None:
    browser = visitor(app, owner.user, "en")
    text = text_of(browser.get("/settings/security").text)
    assert "This device" in text
    assert "Set up" in text
    set_up(owner, phones)
    browser = two_step_browser(app, owner)
    text = text_of(browser.get("/settings/security").text)
    assert "10 recovery codes are left." in text or "9 recovery codes are left." in text
    for path in ("totp-off", "codes", "sign-out"):
        assert part(browser, f"/settings/security/{path}").status_code == 200


def two_step_browser(app: FastAPI, owner: Caller) -> TestClient:
    now = app.dependency_overrides[current_time]()
    phone_time: datetime = now + timedelta(minutes=1)
    app.dependency_overrides[current_time] = lambda: phone_time
    client = new_client(app)
    client.headers["Accept-Language"] = "en"
    secret = secret_of(app, owner)
    body = {"email": owner.user.email, "password": PASSWORD, "totp": code_at(secret, step_at(phone_time))}
    assert client.post(LOGIN, json=body).status_code == 200
    return client


def secret_of(app: FastAPI, owner: Caller) -> str:
    from whago.domain.models import TotpFactor
    from whago.kit.db import reading

    with reading() as db:
        factor = db.get_one(TotpFactor, owner.user.id)
    return str(app.state.parts.vault.open(factor.sealed_secret)["secret"])
