"""Errors on the wire: codes to statuses, one JSON shape, messages in the caller's language.

``{"error": {"code", "message", "details"}}``; ``details.fields`` says what is wrong with each field of bad input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from whago.errors import MESSAGES, InvalidInput, WhagoError
from whago.web.deps import translator
from whago.web.i18n import Translator
from whago.web.parts import parts_of
from whago.web.sentences import sentence_for

log = structlog.get_logger()

DENIED: Final = frozenset({"forbidden", "scope_missing", "csrf"})  # somebody tried what is not theirs: it is logged

STATUSES: Final[Mapping[str, int]] = {
    "not_authenticated": 401,
    "bad_login": 401,
    "totp_required": 401,
    "bad_totp": 401,
    "challenge_expired": 401,
    "totp_setup_required": 403,
    "sign_in_needed": 403,
    "quota_exhausted": 402,
    "forbidden": 403,
    "scope_missing": 403,
    "csrf": 403,
    "account_suspended": 403,
    "chip_limit": 403,
    "not_found": 404,
    "no_qr": 404,
    "link_expired": 404,
    "method_not_allowed": 405,
    "email_taken": 409,
    "slug_taken": 409,
    "name_taken": 409,
    "alias_taken": 409,
    "bridge_unknown": 409,
    "chip_held": 409,
    "hold_lost": 409,
    "engine_external": 409,
    "engine_bridge": 409,
    "chip_blocked": 409,
    "calibration_runs": 409,
    "calibration_refused": 409,
    "not_paused": 409,
    "provider_in_use": 409,
    "proxy_in_use": 409,
    "proxy_full": 409,
    "plan_in_use": 409,
    "plan_is_default": 409,
    "user_in_use": 409,
    "last_admin": 409,
    "totp_on": 409,
    "totp_off": 409,
    "own_account": 409,
    "report_not_ready": 409,
    "report_too_large": 409,
    "ledger_differs": 409,
    "conflict": 409,
    "invalid_input": 422,
    "unknown_placeholder": 422,
    "private_upstream": 422,
    "too_many_attempts": 429,
    "rotation_limit": 429,
    "report_limit": 429,
    "internal": 500,
    "bridge_refused": 502,
    "no_healthy_proxy": 503,
    "bridge_unavailable": 503,
    "unavailable": 503,
    "overloaded": 503,
    "disk_full": 507,
}
DAY_S: Final = 86_400
COME_BACK: Final = (429, 503)  # browsers and load balancers are told when, like programs
RETRY_AFTER_S: Final[Mapping[str, int]] = {
    "no_healthy_proxy": 60,
    "bridge_unavailable": 10,
    "unavailable": 5,
    "overloaded": 5,
}
JSON_PATHS: Final = ("/api/", "/internal/", "/admin/proxies/providers", "/admin/proxies/pool", "/admin/proxies/stats")
FIELD_MAX_CHARS: Final = 100
FIELDS_MAX: Final = 50  # told at once; a body with more mistakes is not a person's


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str
    message: str
    details: dict[str, Any]


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's ``responses`` for the errors that a route may answer, by code."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        told = by_status.setdefault(STATUSES[code], {"model": ErrorAnswer, "description": ""})
        told["description"] = f"{told['description']}\n\n`{code}`: {MESSAGES[code]}".strip()
    return by_status


def install(app: FastAPI) -> None:
    """One set of handlers for everything that can go wrong in a request."""
    app.add_exception_handler(WhagoError, _operational)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def wants_json(request: Request) -> bool:
    """Whether the answer is for a program: by path, so that it never depends on a browser's Accept header."""
    return request.url.path.startswith(JSON_PATHS)


def answer(request: Request, error: WhagoError) -> Response:
    """The response for an error: JSON for programs, a page for people where the pages have one."""
    status = STATUSES[error.code]
    draw = parts_of(request).error_page
    if draw is not None and not wants_json(request):
        page = draw(request, error, status)
        if status in COME_BACK:
            page.headers.update(_headers(error, status))
        return page
    body = {"code": error.code, "message": message_of(error, translator(request))}
    content = {"error": {**body, "details": details_of(error, translator(request))}}
    return JSONResponse(content, status, headers=_headers(error, status))


def message_of(error: WhagoError, translate: Translator) -> str:
    """The sentence for people, in their language."""
    return translate(error.template, **error.details)


def details_of(error: WhagoError, translate: Translator) -> dict[str, Any]:
    """Plain JSON; the sentences about fields are translated too."""
    if error.code != "invalid_input":
        return error.details
    return {"fields": {name: translate(sentence) for name, sentence in error.details["fields"].items()}}


def unexpected(request: Request, error: Exception) -> Response:
    """A bug: recorded with the id that the caller is told."""
    request_id = request.state.request_id
    log.error("request.failed", path=request.url.path, method=request.method, request_id=request_id, exc_info=error)
    return answer(request, WhagoError("internal", request_id=request_id))


def _operational(request: Request, error: Exception) -> Response:
    assert isinstance(error, WhagoError)
    if error.code in DENIED:
        address = request.client.host if request.client else None
        log.warning("request.denied", code=error.code, method=request.method, path=request.url.path, address=address)
    if STATUSES[error.code] >= 500:
        log.warning("request.refused", code=error.code, path=request.url.path, details=error.details)
    return answer(request, error)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    translate = translator(request)
    fields: dict[str, str] = {}
    for mistake in error.errors()[:FIELDS_MAX]:
        where = ("body",) if mistake["type"] == "json_invalid" else mistake["loc"]  # its place is a count of characters
        fields.setdefault(_field(where), sentence_for(mistake, translate))
    return answer(request, WhagoError("invalid_input", fields=fields))


def _http(request: Request, error: Exception) -> Response:
    """What the framework itself refuses: an unknown path, a method, a body that is no JSON."""
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 401: "not_authenticated", 403: "forbidden"}
    if error.status_code in codes:
        response = answer(request, WhagoError(codes[error.status_code]))
    elif error.status_code < 500:
        response = answer(request, InvalidInput(body="The body cannot be read."))
    else:
        response = answer(request, WhagoError("unavailable", part="web"))
    response.headers.update(error.headers or {})
    return response


def _headers(error: WhagoError, status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    wait = error.details.get("retry_after_s", DAY_S if status == 429 else RETRY_AFTER_S.get(error.code))
    return {"Retry-After": str(wait)} if wait is not None else {}


def _field(where: Sequence[Any]) -> str:
    """``("body", "credentials", "password")`` is ``credentials.password``; the whole body is ``body``."""
    names = [str(part) for part in where]
    if names and names[0] in ("body", "query", "path", "header", "cookie"):
        names = names[1:] or names
    return ".".join(names).encode("utf-8", "replace").decode()[:FIELD_MAX_CHARS] or "body"
