"""What an API key may do: never more than its owner, and less when it was made so."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from tests.web.api_setup import Caller, new_client, refused
from whago.domain.rules.scopes import EVERY_SCOPE, Scope, allows


def key_of(caller: Caller, *scopes: str) -> dict[str, str]:
    body: dict[str, Any] = {"name": "CRM"} | ({"scopes": list(scopes)} if scopes else {})
    answer = caller.post("/api-keys", body)
    assert answer.status_code == 201, answer.text
    return {"X-API-Key": answer.json()["key"]}


def ask(app: FastAPI, method: str, path: str, headers: dict[str, str], json: Any = None) -> Any:
    return new_client(app).request(method, f"/api/v1{path}", headers=headers, json=json)


@pytest.mark.parametrize(
    ("held", "wanted", "answer"),
    [
        ({"read"}, Scope.READ, True),
        ({"read"}, Scope.WRITE, False),
        ({"write"}, Scope.READ, True),
        ({"write"}, Scope.WRITE, True),
        ({"write"}, Scope.ADMIN, False),
        ({"admin"}, Scope.READ, False),
        (set(EVERY_SCOPE), Scope.ADMIN, True),
        (set(), Scope.READ, False),
    ],
)
def test_the_law_of_scopes(held: set[str], wanted: Scope, answer: bool) -> None:
    assert allows(held, wanted) is answer


def test_a_key_that_only_looks_changes_nothing(app: FastAPI, owner: Caller) -> None:
    key = key_of(owner, "read")
    assert ask(app, "GET", "/chips", key).status_code == 200
    for method, path in (("POST", "/chips"), ("PATCH", "/auth/me"), ("POST", "/notifications/mark-all-read")):
        error = refused(ask(app, method, path, key, {}), 403, "scope_missing")
        assert error["details"] == {"scope": "write"}


def test_a_key_that_changes_may_also_look(app: FastAPI, owner: Caller) -> None:
    key = key_of(owner, "write")
    assert ask(app, "GET", "/chips", key).status_code == 200
    assert ask(app, "PATCH", "/auth/me", key, {"name": "Olga"}).status_code == 200


def test_administration_wants_its_own_scope(app: FastAPI, admin: Caller, owner: Caller) -> None:
    refused(ask(app, "GET", "/admin/users", key_of(admin, "read", "write")), 403, "scope_missing")
    assert ask(app, "GET", "/admin/users", key_of(admin, "read", "admin")).status_code == 200
    refused(ask(app, "POST", "/admin/plans", key_of(admin, "read", "admin"), {}), 403, "scope_missing")
    refused(owner.post("/api-keys", {"name": "x", "scopes": ["admin"]}), 403, "scope_missing")


def test_without_a_wish_a_key_may_what_its_owner_may(app: FastAPI, owner: Caller, admin: Caller) -> None:
    assert owner.post("/api-keys", {"name": "x"}).json()["scopes"] == ["read", "write"]
    made = admin.post("/api-keys", {"name": "x"}).json()
    assert made["scopes"] == ["read", "write", "admin"]
    assert ask(app, "GET", "/admin/users", {"X-API-Key": made["key"]}).status_code == 200


def test_a_key_gives_no_other_key_more_than_it_has(app: FastAPI, admin: Caller) -> None:
    key = key_of(admin, "write")
    refused(ask(app, "POST", "/api-keys", key, {"name": "x", "scopes": ["read", "admin"]}), 403, "scope_missing")
    made = ask(app, "POST", "/api-keys", key, {"name": "x"}).json()
    assert "admin" not in made["scopes"]


@pytest.mark.parametrize("scopes", [[], ["everything"], "read", ["read"] * 9])
def test_scopes_that_make_no_sense_are_refused(owner: Caller, scopes: Any) -> None:
    refused(owner.post("/api-keys", {"name": "x", "scopes": scopes}), 422, "invalid_input")


def test_the_list_tells_scopes_and_the_last_use(app: FastAPI, owner: Caller) -> None:
    key = key_of(owner, "read")
    (before,) = owner.get("/api-keys").json()["items"]
    assert (before["scopes"], before["last_used_at"]) == (["read"], None)
    ask(app, "GET", "/chips", key)
    (after,) = owner.get("/api-keys").json()["items"]
    assert after["last_used_at"] is not None
    assert key["X-API-Key"] not in str(after)
