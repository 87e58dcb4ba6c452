"""What the tests of the pages share: browsers without a screen, which keep cookies as the real ones do."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from fastapi.testclient import TestClient

from tests.web.api_setup import PASSWORD, new_client
from whago.domain.models import User

INLINE = re.compile(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*(\ssrc=|type=\"application/json\"))", re.I)


def visitor(app: Any, user: User | None = None, language: str = "pt-BR") -> TestClient:
    """A client that asks like a browser; with ``user``, signed in by cookie."""
    client = new_client(app)
    client.headers["Accept-Language"] = language
    if user is not None:
        answer = client.post("/api/v1/auth/login", json={"email": user.email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
    return client


def part(client: TestClient, path: str) -> Any:
    """The same address as htmx asks for it."""
    return client.get(path, headers={"HX-Request": "true"})


def text_of(html: str) -> str:
    """What a reader sees, without tags, with plain spaces."""
    words = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html)))
    return words.replace("\N{NO-BREAK SPACE}", " ").replace("\N{NARROW NO-BREAK SPACE}", " ")


def rows(html: str) -> list[str]:
    return [text_of(row) for row in re.findall(r"<tr id=.*?</tr>", html, re.S)]
