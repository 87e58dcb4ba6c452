"""The tenant isolation matrix: every route there is, asked by everybody who may ask.

What each route should answer is declared in the tables of ``test_access.py`` and ``test_pages_access.py``. A new route
that stands in none of them fails here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.conftest import SECRET, empty_database
from tests.factories import make_ready_pool
from tests.web import test_access, test_pages_access
from tests.web.access_world import IN, Route, Who, World, routes_of, said
from tests.web.api_setup import config
from whago.domain.rules.roles import may
from whago.domain.rules.scopes import Scope, allows
from whago.kit.crypto import Vault
from whago.web.app import create_app
from whago.web.attempts import Attempts
from whago.web.deps import WITHOUT_FACTOR

MACHINES = {  # doors without people: open, or for whoever knows the bridges' secret
    "GET /healthz": IN,
    "GET /readyz": IN,
    "GET /metrics": IN,
    "GET /api/openapi.json": IN,
    "HEAD /api/openapi.json": IN,
    "POST /internal/bridge/beat": "not_authenticated",
    "POST /internal/bridge/bye": "not_authenticated",
    "POST /internal/bridge/events": "not_authenticated",
    "POST /internal/bridge/chips/{chip_id}/claim": "not_authenticated",
    "POST /internal/bridge/chips/{chip_id}/forget": "not_authenticated",
    "POST /internal/bridge/chips/{chip_id}/read": "not_authenticated",
    "POST /internal/bridge/chips/{chip_id}/release": "not_authenticated",
    "POST /internal/bridge/chips/{chip_id}/write": "not_authenticated",
}
ROUTES = list(routes_of(create_app(config())))
PAGES = {
    *test_pages_access.OPEN,
    *test_pages_access.SIGNED_IN,
    *test_pages_access.OWNED,
    *test_pages_access.PERMITS,
}
OWNED = {*test_access.OWNED, *(f"GET {path}" for path in test_pages_access.OWNED)}


@pytest.fixture(scope="module")
def world(_app: FastAPI, _engine: None, postgres_url: str) -> Iterator[World]:
    """Set up once: nobody here leaves a trace that another test of this file would see."""
    empty_database(postgres_url)
    _app.state.parts.attempts = Attempts(None)
    make_ready_pool(Vault([SECRET]))
    with TestClient(_app, base_url="http://whago.example", follow_redirects=False) as client:
        yield World(_app, client)


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_each_route_answers_each_caller_as_declared(world: World, route: Route) -> None:
    callers = world.callers_of(route)
    assert {who.name: answered(world, who, route) for who in callers} == {
        who.name: declared(who, route) for who in callers
    }


@pytest.mark.parametrize("route", test_access.OWNED)
def test_the_owner_gets_what_is_declared(world: World, route: str) -> None:
    method, path = route.split(" ")
    (owner,) = (who for who in world.callers if who.name == "owner")
    things = world.things()
    answer = world.ask(owner, Route(method, f"/api/v1{path}"), things)
    world.clear(things)
    assert answer.status_code == test_access.OWNED[route], answer.text


def answered(world: World, who: Who, route: Route) -> str:
    """With things of the owner, fresh ones when the caller may change them."""
    if route.short not in OWNED:
        told = said(world.ask(who, route, {}))
        return IN if told == "not_found" else told  # it let in, and then there was nothing with such an identifier
    is_harmless = route.is_safe or declared(who, route) != IN
    things = world.standing if is_harmless else world.things()
    told = said(world.ask(who, route, things))
    if not is_harmless:
        world.clear(things)
    return told


def declared(who: Who, route: Route) -> str:
    """What the tables say of this caller. Raises KeyError for a route that is in none of them."""
    if str(route) in MACHINES:
        return MACHINES[str(route)]
    if route.method == "GET" and route.path in PAGES:
        return declared_of_page(who, route)
    if route.short in test_access.OPEN:
        return "not_authenticated" if route.short == "POST /auth/refresh" else IN
    if route.short in test_access.OWN:
        return api(who, route) or by_a_sign_in(who, route)
    if route.short in test_access.OWNED:
        return api(who, route) or owned(who)
    return api(who, route) or permitted(who, may(who.role, test_access.STAFF[route.short]))


def declared_of_page(who: Who, route: Route) -> str:
    """Pages are for people: a key opens none."""
    if route.path in test_pages_access.OPEN:
        return IN
    if who.user is None or who.scopes is not None:
        return "not_authenticated"
    if owed := owing(who, route):
        return owed
    if route.path in test_pages_access.OWNED:
        return owned(who)
    permit = test_pages_access.PERMITS.get(route.path)
    return permitted(who, permit is None or may(who.role, permit))


def api(who: Who, route: Route) -> str | None:
    if who.user is None:
        return "not_authenticated"
    if who.scopes is not None and not allows(who.scopes, Scope.READ if route.is_safe else Scope.WRITE):
        return "scope_missing"
    if who.by_cookie and not route.is_safe:
        return "csrf"
    return owing(who, route)


def owing(who: Who, route: Route) -> str | None:
    return "totp_setup_required" if who.owes_factor and not route.path.startswith(WITHOUT_FACTOR) else None


def permitted(who: Who, role_allows: bool) -> str:
    if not role_allows:
        return "forbidden"
    return IN if who.scopes is None or allows(who.scopes, Scope.ADMIN) else "scope_missing"


def by_a_sign_in(who: Who, route: Route) -> str:
    return "sign_in_needed" if who.scopes is not None and route.short in test_access.BY_A_SIGN_IN else IN


def owned(who: Who) -> str:
    """What is somebody else's does not exist, for the house neither: it has routes of its own."""
    is_owner = who.name == "owner" or who.name.startswith("key of user")
    return IN if is_owner else "not_found"
