"""Where somebody is signed in: the list, one device fewer, all of them, and an administrator's hand."""

from __future__ import annotations

from datetime import timedelta

import pytest
from fastapi import FastAPI

from tests.web.api_setup import PASSWORD, Caller, new_client, refused
from tests.web.page_setup import visitor
from whago.kit import clock
from whago.web.deps import current_time
from whago.web.pages.devices import device_name, is_phone

PIXEL = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 Chrome/131.0 Mobile Safari/537.36"


def test_the_list_tells_device_and_address_and_which_is_this_one(app: FastAPI, owner: Caller) -> None:
    browser = new_client(app)
    browser.headers["User-Agent"] = PIXEL
    assert browser.post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD}).status_code == 200
    items = owner.get("/auth/sign-ins").json()["items"]
    assert len(items) == 2
    phone, own = sorted(items, key=lambda one: one["is_current"])
    assert (phone["user_agent"], phone["address"], phone["is_current"]) == (PIXEL, "testclient", False)
    assert own["is_current"] is True


def test_one_device_is_signed_out_at_once_and_only_by_its_owner(app: FastAPI, owner: Caller, outsider: Caller) -> None:
    browser = visitor(app, owner.user)
    (other,) = [one for one in owner.get("/auth/sign-ins").json()["items"] if not one["is_current"]]
    refused(outsider.delete(f"/auth/sign-ins/{other['id']}"), 404, "not_found")
    assert owner.delete(f"/auth/sign-ins/{other['id']}").status_code == 204
    refused(browser.get("/api/v1/auth/me"), 401, "not_authenticated")
    assert owner.get("/auth/me").status_code == 200
    refused(owner.delete(f"/auth/sign-ins/{other['id']}"), 404, "not_found")


def test_signing_out_everywhere_includes_this_device(app: FastAPI, owner: Caller, outsider: Caller) -> None:
    browser = visitor(app, owner.user)
    token = {"X-CSRF-Token": browser.cookies["whago_csrf"]}
    assert browser.post("/api/v1/auth/sign-ins/end-all", headers=token).status_code == 204
    assert not browser.cookies
    refused(owner.get("/auth/me"), 401, "not_authenticated")
    assert outsider.get("/auth/me").status_code == 200


def test_an_administrator_signs_somebody_out(app: FastAPI, admin: Caller, owner: Caller) -> None:
    browser = visitor(app, owner.user)
    assert admin.post(f"/admin/users/{owner.id}/sign-out").status_code == 204
    refused(owner.get("/auth/me"), 401, "not_authenticated")
    refused(browser.get("/api/v1/auth/me"), 401, "not_authenticated")
    assert admin.get("/admin/audit-log").json()["items"][0]["action"] == "sign_in.end_all"


def test_a_browser_that_stays_is_seen_again(app: FastAPI, owner: Caller) -> None:
    browser = visitor(app, owner.user)
    later = clock.now() + timedelta(hours=3)
    app.dependency_overrides[current_time] = lambda: later
    try:
        assert browser.get("/dashboard").status_code == 200
        (seen,) = browser.get("/api/v1/auth/sign-ins").json()["items"][:1]
    finally:
        app.dependency_overrides.clear()
    assert seen["is_current"] is True
    assert seen["last_seen_at"] == later.isoformat().replace("+00:00", "Z")
    assert seen["began_at"] < seen["last_seen_at"]


def test_a_key_ends_nobodys_sign_in(app: FastAPI, owner: Caller) -> None:
    key = {"X-API-Key": owner.post("/api-keys", {"name": "x"}).json()["key"]}
    refused(new_client(app).get("/api/v1/auth/sign-ins", headers=key), 403, "sign_in_needed")
    refused(new_client(app).post("/api/v1/auth/sign-ins/end-all", headers=key), 403, "sign_in_needed")
    body = {"current_password": PASSWORD, "new_password": "another-password-1"}
    refused(new_client(app).post("/api/v1/auth/password", json=body, headers=key), 403, "sign_in_needed")


@pytest.mark.parametrize(
    ("agent", "name", "phone"),
    [
        (PIXEL, "Chrome · Android", True),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/131.0 Safari/537.36 Edg/131.0", "Edge · Windows", False),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) Version/18.1 Safari/604.1", "Safari · iPhone", True),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox · Linux", False),
        ("python-httpx/0.28.1", "python-httpx/0.28.1", False),
        ("Mozilla/5.0", None, False),
        ("", None, False),
    ],
)
def test_devices_are_called_as_people_call_them(agent: str, name: str | None, phone: bool) -> None:
    assert device_name(agent) == name
    assert is_phone(agent) is phone
