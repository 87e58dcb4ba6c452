"""Register, log in, refresh, log out: tokens, cookies, and how each of them dies."""

from __future__ import annotations

import re
from datetime import timedelta
from http.cookies import SimpleCookie
from uuid import UUID

import jwt
import pytest
from fastapi import FastAPI
from httpx import Response

from tests.factories import make_user
from tests.web.api_setup import PASSWORD, PASSWORD_HASH, Caller, error, new_client, refused, sign_in
from whago.kit import clock
from whago.web.deps import current_time

NEW = {"name": "Nina", "email": "nina@agencia.local", "password": "senha-segura-1"}


def cookies_of(answer: Response) -> dict[str, SimpleCookie]:
    return {header.partition("=")[0]: SimpleCookie(header) for header in answer.headers.get_list("set-cookie")}


def test_registering_makes_a_customer_on_the_default_plan_and_signs_in(app: FastAPI) -> None:
    answer = new_client(app).post("/api/v1/auth/register", json=NEW)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert set(body) == {"user", "tokens"}
    assert body["user"]["role"] == "user"
    assert body["user"]["plan_id"] is None
    assert body["user"]["plan"]["slug"] == "free"
    assert body["tokens"]["token_type"] == "bearer"
    assert "password" not in answer.text.replace("senha", "")
    me = new_client(app).get("/api/v1/auth/me", headers={"Authorization": f"Bearer {body['tokens']['access_token']}"})
    assert me.json()["email"] == NEW["email"]


def test_an_email_is_one_account_in_whatever_case(app: FastAPI) -> None:
    client = new_client(app)
    assert client.post("/api/v1/auth/register", json=NEW).status_code == 201
    again = new_client(app).post("/api/v1/auth/register", json=NEW | {"email": "NINA@Agencia.Local"})
    refused(again, 409, "email_taken")
    login = {"email": " Nina@AGENCIA.local ", "password": NEW["password"]}
    assert new_client(app).post("/api/v1/auth/login", json=login).status_code == 200


def test_the_cookies_are_out_of_reach_of_scripts_and_of_other_sites(app: FastAPI) -> None:
    make_user(email="a@b.test", password_hash=PASSWORD_HASH)
    answer = new_client(app).post("/api/v1/auth/login", json={"email": "a@b.test", "password": PASSWORD})
    cookies = cookies_of(answer)
    assert set(cookies) == {"whago_access", "whago_refresh", "whago_csrf"}
    for name in ("whago_access", "whago_refresh"):
        assert cookies[name][name]["httponly"] is True
        assert cookies[name][name]["samesite"] == "lax"
        assert cookies[name][name]["path"] == "/"
    assert cookies["whago_csrf"]["whago_csrf"]["httponly"] == ""


def test_a_wrong_password_and_an_unknown_email_are_told_alike(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    known = client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": "wrong-password"})
    unknown = client.post("/api/v1/auth/login", json={"email": "nobody@x.example", "password": "wrong-password"})
    refused(known, 401, "bad_login")
    assert unknown.json() == known.json()
    assert "set-cookie" not in known.headers


def test_guessing_is_stopped_for_the_account_and_not_for_others(app: FastAPI, owner: Caller, outsider: Caller) -> None:
    client = new_client(app)
    guess = {"email": owner.user.email, "password": "wrong-password"}
    answers = [client.post("/api/v1/auth/login", json=guess) for _ in range(12)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429] * 2
    found = refused(answers[-1], 429, "too_many_attempts")
    assert int(answers[-1].headers["retry-after"]) == found["details"]["retry_after_s"] > 0
    right = client.post("/api/v1/auth/login", json=guess | {"password": PASSWORD})
    refused(right, 429, "too_many_attempts")
    other = client.post("/api/v1/auth/login", json={"email": outsider.user.email, "password": PASSWORD})
    assert other.status_code == 200


def test_a_right_login_forgets_the_wrong_ones(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    for password in ["wrong-password"] * 9 + [PASSWORD] + ["wrong-password"] * 9:
        answer = client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": password})
        assert answer.status_code == (200 if password == PASSWORD else 401)


def test_a_refresh_token_is_replaced_by_its_use(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    first = client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD}).json()["tokens"]
    client.cookies.clear()
    second = client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]})
    assert second.status_code == 200
    assert second.json()["tokens"]["refresh_token"] != first["refresh_token"]


def test_a_refresh_token_used_twice_ends_the_whole_sign_in(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    first = client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD}).json()["tokens"]
    second = client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}).json()["tokens"]
    client.cookies.clear()
    refused(
        client.post("/api/v1/auth/refresh", json={"refresh_token": first["refresh_token"]}), 401, "not_authenticated"
    )
    refused(
        client.post("/api/v1/auth/refresh", json={"refresh_token": second["refresh_token"]}), 401, "not_authenticated"
    )
    bearer = {"Authorization": f"Bearer {second['access_token']}"}
    refused(client.get("/api/v1/auth/me", headers=bearer), 401, "not_authenticated")
    assert owner.get("/auth/me").status_code == 200  # another sign-in of the same person goes on


def test_refreshing_needs_no_body_when_the_cookie_is_there(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    assert client.post("/api/v1/auth/refresh").status_code == 200
    assert client.get("/api/v1/auth/me").status_code == 200


def test_logging_out_kills_both_tokens(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    tokens = client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD}).json()["tokens"]
    client.cookies.clear()
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    answer = client.post("/api/v1/auth/logout", headers=bearer)
    assert answer.status_code == 204
    assert all(cookie[name]["max-age"] == "0" for name, cookie in cookies_of(answer).items())
    refused(client.get("/api/v1/auth/me", headers=bearer), 401, "not_authenticated")
    refused(
        client.post("/api/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]}), 401, "not_authenticated"
    )


def test_an_access_token_ends_after_a_quarter_of_an_hour(app: FastAPI, owner: Caller) -> None:
    moment = clock.now()
    app.dependency_overrides[current_time] = lambda: moment + timedelta(minutes=14)
    try:
        assert owner.get("/auth/me").status_code == 200
        app.dependency_overrides[current_time] = lambda: moment + timedelta(minutes=16)
        refused(owner.get("/auth/me"), 401, "not_authenticated")
    finally:
        app.dependency_overrides.clear()


def test_a_browser_stays_signed_in_while_its_refresh_token_holds(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    moment = clock.now()
    try:
        app.dependency_overrides[current_time] = lambda: moment + timedelta(days=3)
        answer = client.get("/api/v1/auth/me")
        assert answer.status_code == 200
        assert "whago_access" in cookies_of(answer)
        app.dependency_overrides[current_time] = lambda: moment + timedelta(days=31)
        refused(client.get("/api/v1/auth/me"), 401, "not_authenticated")
    finally:
        app.dependency_overrides.clear()


def test_a_token_signed_by_somebody_else_is_nothing(app: FastAPI, owner: Caller) -> None:
    genuine = owner.headers["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(genuine, options={"verify_signature": False})
    forged = [
        jwt.encode(claims, "another key of thirty-two bytes!!", algorithm="HS256"),
        jwt.encode(claims, None, algorithm="none"),
        genuine[:-4] + "AAAA",
        "",
        "garbage",
    ]
    for token in forged:
        answer = new_client(app).get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
        refused(answer, 401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_bad_bearer_token_never_falls_back_to_the_cookie(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    for header in ("Bearer nonsense", "Basic YTpi", "Bearer"):
        refused(client.get("/api/v1/auth/me", headers={"Authorization": header}), 401, "not_authenticated")


def test_a_suspended_user_is_told_so_and_let_nowhere(app: FastAPI, owner: Caller, admin: Caller) -> None:
    key = owner.post("/api-keys", {"name": "crm"}).json()["key"]
    login = {"email": owner.user.email, "password": PASSWORD}
    browser = new_client(app)
    refresh = browser.post("/api/v1/auth/login", json=login).json()["tokens"]["refresh_token"]
    assert admin.put(f"/admin/users/{owner.id}", {"is_active": False}).status_code == 200
    refused(owner.get("/chips"), 403, "account_suspended")
    refused(new_client(app).get("/api/v1/chips", headers={"X-API-Key": key}), 403, "account_suspended")
    refused(new_client(app).post("/api/v1/auth/login", json=login), 403, "account_suspended")
    refused(new_client(app).post("/api/v1/auth/refresh", json={"refresh_token": refresh}), 401, "not_authenticated")
    assert admin.put(f"/admin/users/{owner.id}", {"is_active": True}).status_code == 200
    refused(owner.get("/chips"), 401, "not_authenticated")  # what was issued before stays dead
    assert new_client(app).post("/api/v1/auth/login", json=login).status_code == 200


def test_a_new_password_ends_every_other_sign_in(app: FastAPI, owner: Caller) -> None:
    elsewhere = new_client(app)
    elsewhere.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    wrong = owner.post("/auth/password", {"current_password": "not it", "new_password": "a-new-password"})
    assert refused(wrong, 422, "invalid_input")["details"]["fields"] == {
        "current_password": "This is not your password."
    }
    answer = owner.post("/auth/password", {"current_password": PASSWORD, "new_password": "a-new-password"})
    assert answer.status_code == 200
    refused(elsewhere.get("/api/v1/auth/me"), 401, "not_authenticated")
    refused(owner.get("/auth/me"), 401, "not_authenticated")
    fresh = {"Authorization": f"Bearer {answer.json()['tokens']['access_token']}"}
    assert new_client(app).get("/api/v1/auth/me", headers=fresh).status_code == 200
    old = {"email": owner.user.email, "password": PASSWORD}
    refused(new_client(app).post("/api/v1/auth/login", json=old), 401, "bad_login")


def test_people_change_their_name_and_language(owner: Caller) -> None:
    assert owner.ask("PATCH", "/auth/me", json={"language": "en"}).json()["language"] == "en"
    changed = owner.ask("PATCH", "/auth/me", json={"name": "  Otto  "}).json()
    assert (changed["name"], changed["language"]) == ("Otto", "en")
    assert owner.ask("PATCH", "/auth/me", json={"language": None}).json()["language"] is None


def test_an_api_key_works_until_it_is_revoked_and_is_shown_once(app: FastAPI, owner: Caller, outsider: Caller) -> None:
    made = owner.post("/api-keys", {"name": "crm"})
    assert made.status_code == 201
    key = made.json()["key"]
    assert re.fullmatch(r"whk_[\w-]{43}", key)
    listed = owner.get("/api-keys").json()["items"]
    assert [one["name"] for one in listed] == ["crm"]
    assert "key" not in listed[0]
    assert key.startswith(listed[0]["prefix"])
    client = new_client(app)
    assert client.get("/api/v1/auth/me", headers={"X-API-Key": key}).json()["id"] == owner.id
    assert owner.get("/api-keys").json()["items"][0]["last_used_at"] is not None
    refused(outsider.delete(f"/api-keys/{made.json()['id']}"), 404, "not_found")
    assert owner.delete(f"/api-keys/{made.json()['id']}").status_code == 204
    refused(client.get("/api/v1/auth/me", headers={"X-API-Key": key}), 401, "not_authenticated")


def test_a_user_has_at_most_twenty_api_keys(owner: Caller) -> None:
    assert [owner.post("/api-keys", {"name": f"key {n}"}).status_code for n in range(20)] == [201] * 20
    assert "name" in refused(owner.post("/api-keys", {"name": "one more"}), 422, "invalid_input")["details"]["fields"]


def test_a_cookie_alone_changes_nothing_without_the_csrf_token(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    body = {"name": "by a form of another site"}
    refused(client.post("/api/v1/api-keys", json=body), 403, "csrf")
    refused(client.post("/api/v1/api-keys", json=body, headers={"X-CSRF-Token": "x.y"}), 403, "csrf")
    token = {"X-CSRF-Token": client.cookies["whago_csrf"]}
    foreign = token | {"Origin": "https://evil.example"}
    refused(client.post("/api/v1/api-keys", json=body, headers=foreign), 403, "csrf")
    assert client.get("/api/v1/api-keys").json()["items"] == []
    own = token | {"Origin": "http://whago.example"}
    assert client.post("/api/v1/api-keys", json=body, headers=own).status_code == 201


def test_logging_out_by_cookie_needs_the_csrf_token_too(app: FastAPI, owner: Caller) -> None:
    client = new_client(app)
    client.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    refused(client.post("/api/v1/auth/logout"), 403, "csrf")
    assert client.get("/api/v1/auth/me").status_code == 200
    answer = client.post("/api/v1/auth/logout", headers={"X-CSRF-Token": client.cookies["whago_csrf"]})
    assert answer.status_code == 204
    refused(client.get("/api/v1/auth/me"), 401, "not_authenticated")


def test_the_csrf_token_of_one_user_does_not_serve_another(app: FastAPI, owner: Caller, outsider: Caller) -> None:
    attacker = new_client(app)
    attacker.post("/api/v1/auth/login", json={"email": outsider.user.email, "password": PASSWORD})
    planted = attacker.cookies["whago_csrf"]
    victim = new_client(app)
    victim.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    victim.cookies.delete("whago_csrf")
    victim.cookies.set("whago_csrf", planted, domain="whago.example")
    refused(victim.post("/api/v1/api-keys", json={"name": "x"}, headers={"X-CSRF-Token": planted}), 403, "csrf")


def test_another_site_cannot_sign_a_browser_in(app: FastAPI, owner: Caller) -> None:
    login = {"email": owner.user.email, "password": PASSWORD}
    answer = new_client(app).post("/api/v1/auth/login", json=login, headers={"Origin": "https://evil.example"})
    refused(answer, 403, "csrf")
    as_text = new_client(app).post(
        "/api/v1/auth/login",
        content=f'{{"email": "{owner.user.email}", "password": "{PASSWORD}"}}',
        headers={"Content-Type": "text/plain"},  # what a form of another site can send without a preflight
    )
    refused(as_text, 422, "invalid_input")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("password", "short"),
        ("password", "Password1"),  # one of the first that are guessed
        ("password", "x" * 257),
        ("password", "\ud800" * 10),
        ("email", "not an email"),
        ("email", "a@b@c.test"),
        ("email", "nul\0@x.test"),
        ("email", "x" * 250 + "@x.test"),
        ("name", ""),
        ("name", "   "),
        ("name", "n" * 121),
        ("name", "nul\0inside"),
        ("name", None),
    ],
)
def test_bad_registrations_are_refused_by_field(app: FastAPI, field: str, value: str | None) -> None:
    import json

    answer = new_client(app).post(
        "/api/v1/auth/register",
        content=json.dumps(NEW | {field: value}).encode(),
        headers={"Content-Type": "application/json", "Accept-Language": "en"},
    )
    assert list(refused(answer, 422, "invalid_input")["details"]["fields"]) == [field]
    refused(
        new_client(app).post("/api/v1/auth/login", json={"email": NEW["email"], "password": NEW["password"]}),
        401,
        "bad_login",
    )


def test_errors_speak_the_callers_language(app: FastAPI, owner: Caller) -> None:
    path = f"/chips/{UUID(int=1)}"
    english = error(owner.get(path))
    portuguese = error(owner.get(path, headers={"Accept-Language": "de, pt;q=0.9, en;q=0.1"}))
    default = error(owner.get(path, headers={"Accept-Language": ""}))
    assert english["message"] == "Not found."
    assert portuguese["message"] == default["message"] != english["message"]
    owner.ask("PATCH", "/auth/me", json={"language": "pt-BR"})
    assert error(owner.get(path))["message"] == portuguese["message"]  # the setting wins over the header


def test_an_outdated_hash_is_renewed_by_a_login(app: FastAPI) -> None:
    from argon2 import PasswordHasher

    from whago.domain.queries.users import password_hash_of

    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    user = make_user(email="old@x.test", password_hash=weak)
    login = {"email": "old@x.test", "password": PASSWORD}
    assert new_client(app).post("/api/v1/auth/login", json=login).status_code == 200
    assert password_hash_of(user.id) != weak
    assert new_client(app).post("/api/v1/auth/login", json=login).status_code == 200


def test_each_person_signs_in_alone(app: FastAPI) -> None:
    one, other = sign_in(app), sign_in(app)
    assert one.get("/auth/me").json()["id"] == one.id != other.get("/auth/me").json()["id"]
