"""What every answer tells the browser, for every route that there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from uuid import uuid4

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx import Headers
from starlette.routing import BaseRoute, Mount, Route

from tests.web.api_setup import PASSWORD, Caller, config, new_client
from tests.web.page_setup import visitor
from whago.web.app import create_app

PLACEHOLDER = re.compile(r"\{(\w+)(?::\w+)?\}")
STATIC = "/static/"


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    yield from _walk(app.routes, "")


def _walk(routes: list[BaseRoute], prefix: str) -> Iterator[tuple[str, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield "GET", f"{prefix}{route.path}/nothing"
        elif isinstance(route, APIRoute | Route):
            yield from ((method, prefix + route.path) for method in sorted(route.methods or ()))
        elif (inner := getattr(route, "original_router", None)) is not None:  # what an included router became
            yield from _walk(inner.routes, prefix + route.include_context.prefix)  # type: ignore[attr-defined]


def asked(path: str) -> str:
    return PLACEHOLDER.sub(lambda _found: str(uuid4()), path)


def check(headers: Headers, path: str, *, secure: bool = False) -> None:
    policy = headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff", path
    assert headers["x-frame-options"] == "DENY", path
    assert headers["referrer-policy"] == "same-origin", path
    assert headers["cross-origin-opener-policy"] == "same-origin", path
    assert headers["cross-origin-resource-policy"] == "same-origin", path
    assert "camera=()" in headers["permissions-policy"], path
    assert "frame-ancestors 'none'" in policy, path
    assert "unsafe" not in policy, path
    assert "*" not in policy, path
    is_page = headers.get("content-type", "").startswith("text/html")
    assert policy.startswith("default-src 'self'" if is_page else "default-src 'none'"), path
    if not path.startswith(STATIC):
        assert headers["cache-control"] == "no-store", path
    assert ("strict-transport-security" in headers) is secure, path
    assert "access-control-allow-origin" not in headers, path
    assert "server" not in headers, path
    assert "x-powered-by" not in headers, path


def test_the_route_table_is_the_whole_one(app: FastAPI) -> None:
    found = set(routes_of(app))
    assert found >= {
        ("GET", "/login"), ("GET", "/dashboard"), ("GET", "/admin/proxies"), ("GET", "/healthz"),
        ("POST", "/api/v1/auth/login"), ("DELETE", "/api/v1/chips/{chip_id}"), ("GET", "/admin/proxies/pool"),
    }  # fmt: skip
    assert len(found) > 100


def test_an_anonymous_caller_is_answered_with_them_on_every_route(app: FastAPI) -> None:
    client = new_client(app)
    for method, path in routes_of(app):
        check(client.request(method, asked(path)).headers, path)


def test_an_administrator_is_answered_with_them_on_every_route_that_reads(app: FastAPI, admin: Caller) -> None:
    client = visitor(app, admin.user)
    for method, path in routes_of(app):
        if method == "GET" and not path.startswith("/internal"):
            check(client.get(asked(path)).headers, path)


@pytest.mark.parametrize("path", ["/nowhere", "/api/v1/nowhere", "/static/nowhere/x.css", "/login"])
def test_what_is_not_there_and_what_is_too_large_are_answered_with_them(app: FastAPI, path: str) -> None:
    client = new_client(app)
    check(client.get(path).headers, path)
    check(client.post(path, content=b"x" * 2**21).headers, path)


@pytest.mark.parametrize("secure", [False, True])
def test_behind_tls_browsers_are_told_to_stay_there_and_cookies_to_go_nowhere_else(
    database: str, owner: Caller, secure: bool
) -> None:
    own = create_app(config(cookie_secure=secure))
    answer = new_client(own).post("/api/v1/auth/login", json={"email": owner.user.email, "password": PASSWORD})
    check(answer.headers, "/api/v1/auth/login", secure=secure)
    if secure:
        assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    cookies = [SimpleCookie(line) for line in answer.headers.get_list("set-cookie")]
    flags = {name: cookie[name] for cookie in cookies for name in cookie}
    assert set(flags) == {"whago_access", "whago_refresh", "whago_csrf"}
    for name, flag in flags.items():
        assert bool(flag["secure"]) is secure
        assert bool(flag["httponly"]) is (name != "whago_csrf"), "our own scripts send that one back"
        assert (flag["samesite"].lower(), flag["path"], flag["domain"]) == ("lax", "/", "")
