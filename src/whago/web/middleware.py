"""Around every request: its id, its limits, the headers that browsers need, its cookies, its figures."""

from __future__ import annotations

import re
import time
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whago.kit import tracing
from whago.kit.ids import new_id
from whago.web import errors
from whago.web.cookies import pending

BODY_MAX_BYTES: Final = 1_048_576  # a pasted list of 5,000 static proxies has about 300 kB
INTERNAL: Final = "/internal/bridge/"
INTERNAL_MAX_BYTES: Final = 16 * BODY_MAX_BYTES  # the keys of a group's thousand members, written in one transaction
REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}")  # nothing that could forge a log line
HSTS: Final = "max-age=31536000; includeSubDomains"  # a year, as ASVS 5.0 V3.4 wants it at level 2
PAGE_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
COMMON_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Figures:
    """What ``/metrics`` tells of requests."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("whago_web_requests_total", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "whago_web_request_seconds", "Time to answer.", ("method", "route"), registry=self.registry
        )

    def took(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope)
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "other"
        self.requests.labels(method, route, status).inc()
        self.seconds.labels(method, route).observe(seconds)


API_PREFIX: Final = "/api/v1"
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


def route_of(scope: Scope) -> str:
    """The path as it was declared, so that identifiers make no new series; included routers leave their prefix out."""
    path = getattr(scope.get("route"), "path", None)
    if path is None:
        return "unknown"
    return API_PREFIX + path if scope["path"].startswith(API_PREFIX + "/") else str(path)


class Envelope:
    """One ASGI middleware for all of it, outside of routing."""

    def __init__(self, app: ASGIApp, *, figures: Figures, cookie_secure: bool) -> None:
        self.app = app
        self.figures = figures
        self.cookie_secure = cookie_secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parent = _header(scope, b"traceparent")
        with tracing.span(str(scope["method"]), "server", parent) as span:
            await self._answer(scope, receive, send, span)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, span: tracing.Span) -> None:
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        known = {"request_id": request_id}
        if trace_id := tracing.trace_id():
            known["trace_id"] = trace_id
        structlog.contextvars.bind_contextvars(**known)
        began, statuses, started = time.monotonic(), [500], [False]

        async def send_wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses[0], started[0] = message["status"], True
                self._finish(scope, MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            limit = INTERNAL_MAX_BYTES if scope["path"].startswith(INTERNAL) else BODY_MAX_BYTES
            if _declared_length(scope) > limit:
                await _too_large(scope, receive, send_wrapped, limit)
                return
            await self.app(scope, _Bounded(receive, limit), send_wrapped)
        except Exception as error:
            if started[0]:
                raise
            await errors.unexpected(Request(scope), error)(scope, receive, send_wrapped)
        finally:
            structlog.contextvars.unbind_contextvars(*known)
            self.figures.took(scope, statuses[0], time.monotonic() - began)
            span.name(f"{scope['method']} {route_of(scope)}")
            span.note({"http.response.status_code": statuses[0], "whago.request_id": request_id})

    def _finish(self, scope: Scope, headers: MutableHeaders, request_id: str) -> None:
        for name, value in COMMON_HEADERS.items():
            headers[name] = value
        if self.cookie_secure:
            headers["Strict-Transport-Security"] = HSTS
        headers["X-Request-ID"] = request_id
        is_page = headers.get("content-type", "").startswith("text/html")
        headers["Content-Security-Policy"] = PAGE_POLICY if is_page else DATA_POLICY
        if not scope["path"].startswith("/static/"):
            headers["Cache-Control"] = "no-store"
        for cookie in pending(scope["state"]):
            headers.append("Set-Cookie", cookie)


class _Bounded:
    """A body of unknown length ends, for the application, when it passes the limit: it is then not valid."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._seen = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request":
            return message
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            return {"type": "http.disconnect"}
        return message


def _declared_length(scope: Scope) -> int:
    value = _header(scope, b"content-length") or ""
    return int(value[:12]) if value.isdigit() else 0


def _request_id(scope: Scope) -> str:
    """The one that a proxy or a client gave, so that its log and ours speak of the same; else one of our own."""
    given = _header(scope, b"x-request-id") or ""
    return given if REQUEST_ID.fullmatch(given) else str(new_id())


def _header(scope: Scope, wanted: bytes) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), None)


async def _too_large(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    sentence = f"At most {limit} bytes fit here."
    details = {"fields": {"body": sentence}}
    body = {"error": {"code": "invalid_input", "message": sentence, "details": details}}
    await JSONResponse(body, 422, headers={"Connection": "close"})(scope, receive, send)
