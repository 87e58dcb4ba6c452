"""What the tests of the JSON API share: an application in this process, and people who call it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from fastapi.testclient import TestClient
from httpx import Response

from tests.conftest import SECRET
from tests.factories import make_user
from whago.domain.actions.accounts import begin_sign_in
from whago.domain.models import Plan, User
from whago.kit import clock
from whago.kit.passwords import hash_password
from whago.web.config import WebConfig
from whago.web.security import Claims

PASSWORD = "correct horse battery"
PASSWORD_HASH = hash_password(PASSWORD)
GATEWAY = "gate.example:3128"


def config(**changes: Any) -> WebConfig:
    values: dict[str, Any] = {
        "tz": ZoneInfo("America/Sao_Paulo"),
        "secrets": (SECRET,),
        "gateway_address": GATEWAY,
        "allow_private_upstreams": True,
    }
    return WebConfig(**(values | changes))


@dataclass
class Caller:
    """One person with a client of their own: no cookie is ever shared."""

    client: TestClient
    user: User
    headers: dict[str, str]

    @property
    def id(self) -> str:
        return str(self.user.id)

    def ask(self, method: str, path: str, **options: Any) -> Response:
        headers = self.headers | options.pop("headers", {})
        return self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    def get(self, path: str, **options: Any) -> Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> Response:
        return self.ask("POST", path, json=json, **options)

    def put(self, path: str, json: Any = None, **options: Any) -> Response:
        return self.ask("PUT", path, json=json, **options)

    def delete(self, path: str, **options: Any) -> Response:
        return self.ask("DELETE", path, **options)


def sign_in(app: Any, *, plan: Plan | str | None = None, **fields: Any) -> Caller:
    """A new person with the password PASSWORD, calling by Bearer token and in English."""
    user = make_user(plan, password_hash=PASSWORD_HASH, **fields)
    fresh, now = begin_sign_in(user.id, now=clock.now()), clock.now()
    token = app.state.parts.access.issue(Claims(user.id, fresh.family_id, fresh.token_generation), now)
    return Caller(new_client(app), user, {"Authorization": f"Bearer {token}", "Accept-Language": "en"})


def new_client(app: Any) -> TestClient:
    return TestClient(app, base_url="http://whago.example", follow_redirects=False)


def error(answer: Response) -> dict[str, Any]:
    """The error of an answer, after a look at its shape."""
    body = answer.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"code", "message", "details"}, body
    return dict(body["error"])


def refused(answer: Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    found = error(answer)
    assert found["code"] == code, found
    return found
