"""One world for the access matrix: everybody who may call, things that have an owner, and every route there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import UUID, uuid4

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from tests.factories import make_chip, make_plan, make_user
from tests.notify.office import Office
from tests.web.api_setup import PASSWORD_HASH
from tests.web.test_access import BODIES, STAFF
from tests.web.test_pages_access import PERMITS
from whago.domain.actions.accounts import begin_sign_in
from whago.domain.actions.api_keys import create_api_key, revoke_api_key
from whago.domain.actions.channels import remove_channel
from whago.domain.models import User
from whago.domain.rules.scopes import EVERY_SCOPE, Scope
from whago.errors import WhagoError
from whago.kit import clock
from whago.web.app import API_PREFIX
from whago.web.cookies import ACCESS
from whago.web.deps import SAFE_METHODS
from whago.web.security import Claims

GATES = {
    "not_authenticated",
    "forbidden",
    "scope_missing",
    "sign_in_needed",
    "csrf",
    "totp_setup_required",
    "not_found",
}
IN = "in"
ENDING = {f"{API_PREFIX}/auth/logout", f"{API_PREFIX}/auth/sign-ins/end-all"}
FIXED = {"month": "2026-11", "kind": "webhook", "token": "x" * 43}  # the others are identifiers


@dataclass(frozen=True)
class Route:
    """``path`` as declared and in full."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_api(self) -> bool:
        return self.path.startswith(API_PREFIX)

    @property
    def is_machine(self) -> bool:
        return self.path.startswith(("/internal/", "/healthz", "/readyz", "/metrics", "/api/openapi"))

    @property
    def is_safe(self) -> bool:
        return self.method in SAFE_METHODS

    @property
    def short(self) -> str:
        """As the table of the API names it."""
        return f"{self.method} {self.path.removeprefix(API_PREFIX)}"


def routes_of(app: FastAPI) -> Iterator[Route]:
    """From the route table itself, however the routers are nested; files are no routes."""
    for one in app.routes:
        nested = getattr(one, "effective_route_contexts", None)
        for found in nested() if nested else [one]:
            for method in sorted(getattr(found, "methods", None) or ()):
                yield Route(method, found.path)


@dataclass(frozen=True)
class Who:
    """A caller. ``scopes``: of an API key, None for somebody signed in. ``by_cookie``: a browser without CSRF token."""

    name: str
    user: User | None = None
    scopes: frozenset[Scope] | None = None
    by_cookie: bool = False
    owes_factor: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def role(self) -> str:
        return self.user.role if self.user else ""


class World:
    """Who asks: nobody, an owner and an outsider, each role, each with keys of every scope, and a browser."""

    def __init__(self, app: FastAPI, client: TestClient) -> None:
        self.app, self.client = app, client
        self.plan = plan = make_plan(max_chips=1_000)
        people = {name: make_user(plan, password_hash=PASSWORD_HASH) for name in ("owner", "outsider")}
        people |= {role: make_user(plan, role=role) for role in ("admin", "support", "finance")}
        self.owner = people["owner"]
        self.callers = [Who("nobody")]
        self.callers += [self._signed_in(Who(name, user)) for name, user in people.items()]
        self.callers += [self._with_key(people["owner"], scope) for scope in EVERY_SCOPE]
        self.callers += [self._with_key(people["admin"], *scopes) for scopes in ADMIN_KEYS]
        self.callers += [self._with_key(people[role], *EVERY_SCOPE) for role in ("support", "finance")]
        self.callers.append(self._signed_in(Who("admin's browser", people["admin"], by_cookie=True)))
        self.callers.append(self._signed_in(Who("admin without factor", people["admin"], owes_factor=True)))

    def callers_of(self, route: Route) -> list[Who]:
        """Machines do not care who asks; a page opens to no key, and a shortcut is the route that it stands for."""
        if route.is_machine:
            return self.callers[:2]
        first_key = next(who for who in self.callers if who.scopes is not None)
        return [who for who in self.callers if route.is_api or who.scopes is None or who is first_key]

    def ask(self, who: Who, route: Route, ids: Mapping[str, str]) -> Response:
        """Without a body, and with identifiers of nothing where none is given: who may not come in is told so first."""
        path = route.path
        for name in [part[1:].partition("}")[0] for part in path.split("/") if part.startswith("{")]:
            path = path.replace(f"{{{name}}}", ids.get(name) or FIXED.get(name) or str(uuid4()))
        config = self.app.state.parts.config
        self.app.state.parts.config = replace(config, require_staff_totp=who.owes_factor)
        self.client.cookies.clear()  # nobody leaves anything for the next one
        try:
            headers = self._headers(who, route) | {"HX-Request": "true"}
            return self.client.request(route.method, path, headers=headers, json=BODIES.get(route.short))
        finally:
            self.app.state.parts.config = config

    @cached_property
    def standing(self) -> dict[str, str]:
        """Things of the owner that are only looked at, or asked for by others."""
        return self.things()

    def things(self) -> dict[str, str]:
        """Fresh things of the owner, to be changed and ended. Those before make room."""
        now = clock.now()
        channel = Office.webhook_of(self.owner)
        key = create_api_key(self.owner.id, "CRM", now=now)
        return {"chip_id": str(make_chip(self.owner).chip_id), "key_id": str(key.id), "channel_id": str(channel)}

    def clear(self, ids: Mapping[str, str]) -> None:
        """What is limited by user: keys and channels, if the test left them."""
        for forget, name in ((revoke_api_key, "key_id"), (remove_channel, "channel_id")):
            try:
                forget(self.owner.id, UUID(ids[name]), now=clock.now())
            except WhagoError as error:
                if error.code != "not_found":  # else the test has ended it already
                    raise

    def _headers(self, who: Who, route: Route) -> dict[str, str]:
        if who.user is None or who.scopes is not None:
            return dict(who.headers)
        fresh = who.headers["token"]
        if route.path in ENDING:  # who ends it all must not end it for the others
            fresh = self._token(make_user(self.plan, role=who.role))
        is_page = not route.is_api and not _is_shortcut(route)
        return {"Cookie": f"{ACCESS}={fresh}"} if who.by_cookie or is_page else {"Authorization": f"Bearer {fresh}"}

    def _signed_in(self, who: Who) -> Who:
        assert who.user is not None
        return replace(who, headers={"token": self._token(who.user)})

    def _token(self, user: User) -> str:
        fresh, now = begin_sign_in(user.id, now=clock.now()), clock.now()
        return str(self.app.state.parts.access.issue(Claims(user.id, fresh.family_id, fresh.token_generation), now))

    def _with_key(self, user: User, *scopes: Scope) -> Who:
        key = create_api_key(user.id, "x", scopes=scopes, now=clock.now()).key
        name = f"key of {user.role} for {'+'.join(scopes)}"
        return Who(name, user, frozenset(scopes), headers={"X-API-Key": key})


ADMIN_KEYS = ((Scope.READ,), (Scope.READ, Scope.WRITE), (Scope.READ, Scope.ADMIN), EVERY_SCOPE)


def said(answer: Response) -> str:
    """What the answer says about coming in: the gate that was shut, or ``in``."""
    kind = answer.headers.get("content-type", "")
    body: Any = answer.json() if kind.startswith("application/json") and answer.status_code >= 400 else {}
    code = body["error"]["code"] if body else answer.text if answer.status_code >= 400 else ""
    return code if code in GATES else IN


def _is_shortcut(route: Route) -> bool:
    return route.short in STAFF and not (route.method == "GET" and route.path in PERMITS)
