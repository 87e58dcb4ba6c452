"""Who may do what, for every route of the API; what is declared here ``test_access_matrix.py`` asks of everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from tests.factories import make_chip
from tests.web.api_setup import Caller, config, new_client, refused
from whago.domain.models import Provider, Proxy
from whago.domain.rules.roles import Permit
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
    "GET /auth/totp",
    "POST /auth/totp",
    "POST /auth/totp/confirm",
    "POST /auth/totp/disable",
    "POST /auth/totp/recovery-codes",
    "GET /auth/sign-ins",
    "DELETE /auth/sign-ins/{sign_in_id}",
    "POST /auth/sign-ins/end-all",
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
BY_A_SIGN_IN = {  # of those, what no API key may do: how its owner comes in
    "POST /auth/password",
    "GET /auth/totp",
    "POST /auth/totp",
    "POST /auth/totp/confirm",
    "POST /auth/totp/disable",
    "POST /auth/totp/recovery-codes",
    "GET /auth/sign-ins",
    "DELETE /auth/sign-ins/{sign_in_id}",
    "POST /auth/sign-ins/end-all",
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
LOOKED_AT = {  # what administrators and support may see
    "GET /admin/alerts",
    "GET /admin/audit-log",
    "GET /admin/chips",
    "GET /admin/chips/{chip_id}",
    "GET /admin/proxies/pool",
    "GET /admin/proxies/pool/{proxy_id}",
    "GET /admin/proxies/pool/{proxy_id}/health",
    "GET /admin/proxies/providers/presets",
    "GET /admin/system",
    "GET /admin/system/clocks",
    "GET /admin/users",
    "GET /admin/users/{user_id}",
    "GET /admin/users/{user_id}/usage",
}
COSTS = {  # what finance may see too
    "GET /admin/plans",
    "GET /admin/plans/{plan_id}",
    "GET /admin/proxies/providers",
    "GET /admin/proxies/providers/{provider_id}",
    "GET /admin/proxies/providers/{provider_id}/calibrations",
    "GET /admin/proxies/providers/{provider_id}/reconciliation",
    "GET /admin/proxies/stats/dashboard",
    "GET /admin/proxies/stats/series",
    "GET /admin/reports/archives",
    "GET /admin/reports/costs",
    "GET /admin/reports/runs",
    "GET /admin/reports/runs/{run_id}",
    "GET /admin/reports/runs/{run_id}/file",
    "GET /admin/reports/{month}",
    "GET /admin/reports/{month}/chips",
    "GET /admin/reports/{month}/customers",
    "GET /admin/reports/{month}/prices",
    "GET /admin/reports/{month}/providers",
    "GET /admin/reports/{month}/{kind}.csv",
}
BILLS = {  # what finance may do
    "POST /admin/proxies/providers/{provider_id}/bills/import",
    "POST /admin/reports/runs",
    "POST /admin/reports/runs/{run_id}/cancel",
}
CHANGED = {  # what administrators alone may
    "DELETE /admin/plans/{plan_id}",
    "DELETE /admin/proxies/pool/{proxy_id}",
    "DELETE /admin/proxies/providers/{provider_id}",
    "DELETE /admin/users/{user_id}",
    "PATCH /admin/plans/{plan_id}",
    "PATCH /admin/users/{user_id}",
    "POST /admin/alerts/{alert_id}/acknowledge",
    "POST /admin/chips/{chip_id}/assignment",
    "POST /admin/plans",
    "POST /admin/proxies/pool",
    "POST /admin/proxies/pool/import",
    "POST /admin/proxies/pool/{proxy_id}/test",
    "POST /admin/proxies/providers",
    "POST /admin/proxies/providers/preview",
    "POST /admin/proxies/providers/{provider_id}/calibrations",
    "POST /admin/proxies/providers/{provider_id}/calibrations/{calibration_id}/apply",
    "POST /admin/proxies/providers/{provider_id}/test",
    "POST /admin/users",
    "POST /admin/users/{user_id}/sign-out",
    "POST /admin/users/{user_id}/totp/reset",
    "PUT /admin/plans/{plan_id}",
    "PUT /admin/proxies/pool/{proxy_id}",
    "PUT /admin/proxies/providers/{provider_id}",
    "PUT /admin/proxies/providers/{provider_id}/billing",
    "PUT /admin/users/{user_id}",
}
STAFF = {
    **dict.fromkeys(LOOKED_AT, Permit.LOOK),
    **dict.fromkeys(COSTS, Permit.COSTS),
    **dict.fromkeys(BILLS, Permit.BILLS),
    **dict.fromkeys(CHANGED, Permit.CHANGE),
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


def test_every_route_is_classified() -> None:
    assert set(ROUTES) == OPEN | OWN | set(OWNED) | set(STAFF)
    assert BY_A_SIGN_IN <= OWN
    assert set(STAFF) >= SHORTCUTS


def test_the_nine_admin_routes_are_also_served_without_the_prefix() -> None:
    served = {
        f"{method} {route.path}"
        for module in PROXY_ADMIN
        for route in module.router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    assert served >= SHORTCUTS


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
