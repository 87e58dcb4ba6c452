"""Fixtures of the JSON API: one application for all tests, and its callers."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from tests.factories import make_ready_pool
from tests.web.api_setup import Caller, config, sign_in
from whago.domain.models import Provider, Proxy
from whago.kit import log
from whago.kit.crypto import Vault
from whago.web.app import create_app
from whago.web.attempts import Attempts


@pytest.fixture(scope="session")
def _app() -> FastAPI:
    log.configure("json", "web")
    return create_app(config())


@pytest.fixture
def app(_app: FastAPI, database: str) -> FastAPI:
    """The application on an empty database, with nobody's failed attempts counted."""
    _app.state.parts.attempts = Attempts(None)
    return _app


@pytest.fixture
def pool(app: FastAPI, vault: Vault) -> tuple[Provider, Proxy]:
    """A provider with one rotating proxy."""
    return make_ready_pool(vault)


@pytest.fixture
def admin(app: FastAPI) -> Caller:
    return sign_in(app, role="admin", name="Ana Admin")


@pytest.fixture
def owner(app: FastAPI) -> Caller:
    return sign_in(app, plan="business", name="Otto Owner")


@pytest.fixture
def outsider(app: FastAPI) -> Caller:
    return sign_in(app, plan="business", name="Otto Outsider")
