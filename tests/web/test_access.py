"""Who may do what, for every route there is: a route that is not classified here fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.factories import make_chip
from tests.web.api_setup import Caller, config, new_client, refused
from whago.domain.models import Provider, Proxy
from whago.web.app import API_PREFIX, PROXY_ADMIN, create_app

OPEN = {
    "POST /auth/register",
    "POST /auth/login",
    "POST /auth/refresh",
    "POST /auth/forgot-password",
    "POST /auth/reset-password",
    "GET /plans",
}
OWN = {  # about the caller alone: there is no other's to reach for
    "POST /auth/logout",
    "GET /auth/me",
    "PATCH /auth/me",
    "POST /auth/password",
    "GET /api-keys",
    "POST /api-keys",
    "GET /chips",
    "POST /chips",
    "GET /user/proxy/usage",
    "GET /user/proxy/usage/series",
    "GET /user/proxy/reports/{month}",
    "GET /user/proxy/reports/{month}.csv",
    "GET /notifications",
    "POST /notifications/mark-read",
    "POST /notifications/mark-all-read",
    "GET /user/channels",
    "POST /user/channels/email",
    "POST /user/channels/webhook",
}
OWNED = {  # about one thing that has an owner, and what its owner gets
    "GET /chips/{chip_id}": 200,
    "PATCH /chips/{chip_id}": 200,
    "POST /chips/{chip_id}/pairing-code": 409,
    "POST /chips/{chip_id}/logout": 409,
    "POST /chips/{chip_id}/connect": 409,  # an external chip: refused for what it is, not for who asks
    "POST /chips/{chip_id}/disconnect": 409,
    "POST /chips/{chip_id}/rotate-proxy": 200,
    "POST /chips/{chip_id}/accept-exit-ip": 409,  # the chip is not paused
    "POST /chips/{chip_id}/gateway/rotate": 200,
    "GET /chips/{chip_id}/qr": 409,
    "GET /chips/{chip_id}/events": 200,
    "GET /chips/{chip_id}/exit-ips": 200,
    "GET /chips/{chip_id}/assignments": 200,
    "GET /chips/{chip_id}/usage": 200,
    "GET /user/channels/{channel_id}": 200,
    "GET /user/channels/{channel_id}/deliveries": 200,
    "PUT /user/channels/{channel_id}": 200,
    "POST /user/channels/{channel_id}/test": 202,
    "POST /user/channels/{channel_id}/confirm": 200,
    "POST /user/channels/{channel_id}/confirm/again": 422,  # a webhook: there is nothing to confirm
    "POST /user/channels/{channel_id}/secret/renew": 200,
    "DELETE /user/channels/{channel_id}": 204,
    "DELETE /api-keys/{key_id}": 204,
    "DELETE /chips/{chip_id}": 204,  # last: it ends the chip
}
BODIES = {  # of those that are read before anything else is asked
    "PUT /user/channels/{channel_id}": {"name": "x"},
    "POST /user/channels/{channel_id}/confirm": {"code": "x"},
}
SHORTCUTS = {
    "GET /admin/proxies/providers",
    "POST /admin/proxies/providers",
    "PUT /admin/proxies/providers/{provider_id}",
    "DELETE /admin/proxies/providers/{provider_id}",
    "GET /admin/proxies/pool",
    "POST /admin/proxies/pool",
    "PUT /admin/proxies/pool/{proxy_id}",
    "DELETE /admin/proxies/pool/{proxy_id}",
    "GET /admin/proxies/stats/dashboard",
}


def all_routes() -> Iterator[str]:
    paths: dict[str, dict[str, Any]] = create_app(config()).openapi()["paths"]
    for path, operations in paths.items():
        for method in operations:
            yield f"{method.upper()} {path.removeprefix(API_PREFIX)}"


ROUTES = sorted(all_routes())
ADMIN = [route for route in ROUTES if " /admin/" in route]


def ask(app: FastAPI, route: str, headers: dict[str, str], prefix: str = API_PREFIX, **ids: str) -> Any:
    """With identifiers of nothing where none is given, and no body: who may not come in is told so first."""
    method, path = route.split(" ")
    names = (
        "chip_id",
        "key_id",
        "provider_id",
        "proxy_id",
        "user_id",
        "plan_id",
        "calibration_id",
        "channel_id",
        "alert_id",
        "run_id",
        "month",
        "kind",
    )
    return new_client(app).request(
        method,
        prefix + path.format(**{name: ids.get(name, str(uuid4())) for name in names}),
        headers=headers,
        json=BODIES.get(route),
    )


def test_every_route_is_classified() -> None:
    assert set(ROUTES) == OPEN | OWN | set(OWNED) | set(ADMIN)


def test_the_nine_admin_routes_are_also_served_without_the_prefix() -> None:
    served = {
        f"{method} {route.path}"
        for module in PROXY_ADMIN
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert served >= SHORTCUTS


@pytest.mark.parametrize("route", [route for route in ROUTES if route not in OPEN])
def test_nobody_comes_in_without_signing_in(app: FastAPI, route: str) -> None:
    refused(ask(app, route, {}), 401, "not_authenticated")


@pytest.mark.parametrize("route", ADMIN)
def test_a_customer_is_kept_out_of_administration(app: FastAPI, owner: Caller, route: str) -> None:
    refused(ask(app, route, owner.headers), 403, "forbidden")


@pytest.mark.parametrize("route", ADMIN)
def test_an_api_key_of_a_customer_opens_no_more(app: FastAPI, owner: Caller, route: str) -> None:
    key = owner.post("/api-keys", {"name": "x"}).json()["key"]
    refused(ask(app, route, {"X-API-Key": key}), 403, "forbidden")


@pytest.mark.parametrize("route", sorted(SHORTCUTS))
def test_the_short_paths_are_as_closed_as_the_long_ones(app: FastAPI, owner: Caller, route: str) -> None:
    refused(ask(app, route, {}, prefix=""), 401, "not_authenticated")
    refused(ask(app, route, owner.headers, prefix=""), 403, "forbidden")


def test_what_has_an_owner_exists_for_nobody_else(
    app: FastAPI, owner: Caller, outsider: Caller, admin: Caller, pool: tuple[Provider, Proxy]
) -> None:
    chip_id = str(make_chip(owner.user).chip_id)
    key_id = owner.post("/api-keys", {"name": "x"}).json()["id"]
    channel = owner.post("/user/channels/webhook", {"name": "x", "url": "https://crm.example/hook"}).json()
    ids = {"chip_id": chip_id, "key_id": key_id, "channel_id": channel["id"]}
    before = owner.get(f"/chips/{chip_id}").json()
    for route in OWNED:
        for stranger in (outsider, admin):  # an administrator has routes of their own
            refused(ask(app, route, stranger.headers, **ids), 404, "not_found")
    assert owner.get(f"/chips/{chip_id}").json() == before
    for route, status in OWNED.items():
        answer = ask(app, route, owner.headers, **ids)
        assert answer.status_code == status, (route, answer.text)


def test_lists_hold_what_is_ones_own(owner: Caller, outsider: Caller, pool: tuple[Provider, Proxy]) -> None:
    make_chip(owner.user, alias="mine")
    owner.post("/api-keys", {"name": "mine"})
    assert len(owner.get("/chips").json()["items"]) == 1
    for path in ("/chips", "/api-keys", "/notifications", "/user/proxy/usage/series"):
        assert outsider.get(path).json()["items"] == []


def test_a_route_that_is_not_there_is_told_in_json(app: FastAPI, owner: Caller) -> None:
    for path in ("/api/v1/nothing", "/api/v1/chips/", "/api/nothing", "/internal/nothing"):
        refused(new_client(app).get(path, headers=owner.headers), 404, "not_found")
    answer = new_client(app).patch("/api/v1/chips", headers=owner.headers)
    refused(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]
