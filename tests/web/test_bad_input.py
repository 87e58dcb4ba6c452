"""Bad input of every route: whatever is sent, the server never breaks and answers what its OpenAPI document says."""

from __future__ import annotations

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.factories import make_chip, make_ready_pool
from tests.web.api_setup import Caller, config, sign_in
from whago.domain.actions.api_keys import create_api_key
from whago.kit import clock
from whago.kit.crypto import Vault
from whago.web.app import OPENAPI_PATH, create_app
from whago.web.attempts import Attempts

EXAMPLES = 12  # for each route, besides the boundary values that are always tried
MISSING_PARTS = {"bridge_unavailable", "no_healthy_proxy"}  # said on purpose: no bridge runs here


def no_breakage(_context: schemathesis.CheckContext, response: schemathesis.Response, _case: schemathesis.Case) -> None:
    if response.status_code >= 500:
        assert response.status_code == 503
        assert response.json()["error"]["code"] in MISSING_PARTS


CHECKS = [no_breakage, status_code_conformance, content_type_conformance, response_schema_conformance]
SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]

tried = create_app(config())
schema = schemathesis.openapi.from_asgi(OPENAPI_PATH, tried)
schema.config.generation.update(with_security_parameters=False)  # the callers below bring genuine credentials
customers = schema.exclude(path_regex="/admin/")
administrators = schema.include(path_regex="/admin/")
open_to_all = schema.include(path_regex="/(auth|plans)")


@pytest.fixture
def ready(database: str, vault: Vault) -> FastAPI:
    """The application with a pool, so that chips can be created."""
    tried.state.parts.attempts = Attempts(None)
    make_ready_pool(vault)
    return tried


@pytest.fixture
def customer(ready: FastAPI) -> Caller:
    caller = sign_in(ready, plan="enterprise")
    make_chip(caller.user)
    return caller


@pytest.fixture
def boss(ready: FastAPI) -> Caller:
    return sign_in(ready, role="admin")


def key_of(caller: Caller) -> dict[str, str]:
    """An API key: it survives whatever the routes do to sign-ins."""
    return {"X-API-Key": create_api_key(caller.user.id, "schemathesis", now=clock.now()).key}


@pytest.fixture
def customer_key(customer: Caller) -> dict[str, str]:
    return key_of(customer)


@pytest.fixture
def boss_key(boss: Caller) -> dict[str, str]:
    return key_of(boss)


@customers.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW_IS_FINE)
def test_a_customer_cannot_break_it(case: schemathesis.Case, customer_key: dict[str, str]) -> None:
    case.call_and_validate(headers=customer_key, checks=CHECKS)


@administrators.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW_IS_FINE)
def test_an_administrator_cannot_break_it(case: schemathesis.Case, boss_key: dict[str, str]) -> None:
    case.call_and_validate(headers=boss_key, checks=CHECKS)


@open_to_all.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=SLOW_IS_FINE)
def test_a_stranger_cannot_break_it(case: schemathesis.Case, ready: FastAPI) -> None:
    case.call_and_validate(checks=CHECKS)
