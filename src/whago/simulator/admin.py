"""The admin endpoint: look at the provider and make it misbehave. JSON, loopback only, no password.

=======  ==========================  ==============================================================================
GET      /healthz /readyz /metrics   as every process of the product
GET      /state                      ports, totals, accounts, outcomes, switches, usage settings
GET      /sessions[?account=&limit=] ``{"items": [...], "total": n}``, last used first
GET      /sessions/{id}              one session; ``{id}`` is the bare id, or ``account:id``
POST     /sessions/{id}/drift        a new exit IP, silently; body may hold ``{"country": "AR"}``
POST     /duplicate                  ``{"sessions": ["a", "b"]}``: b gets the exit IP of a
GET      /switches                   what is set, by scope
PUT      /switches                   ``{"scope": "all", "stall": true, ...}``; null unsets; scopes as in ``switches``
POST     /switches/reset             all scopes, or ``{"scope": ...}``
POST     /cut                        ends running tunnels with RST: ``{"scope": ...}``, default all → ``{"cut": n}``
PUT      /usage-settings             ``{"lag_s", "overbill_percent", "bytes_per_kb", "status"}``, any of them
GET      /origin                     what the built-in origins saw of each exit IP
GET      /static-list                static proxies as text, ``host:port:user:pass`` a line
GET      /pub/user-usage-flow/total  the vendor's usage API, see ``usage_api``
=======  ==========================  ==============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, Final, Protocol

import structlog
from prometheus_client import CollectorRegistry, generate_latest

from whago.simulator import usage_api
from whago.simulator.exits import NoExit
from whago.simulator.http import HttpError, Request, Response
from whago.simulator.metrics import ProviderMetrics
from whago.simulator.origins import Origins
from whago.simulator.state import ProviderState, UsageSettings
from whago.simulator.stickies import UnknownSticky
from whago.simulator.switches import ALL, SwitchError

log = structlog.get_logger()

SESSIONS_LISTED: Final = 1000
_LOCAL_HOST: Final = re.compile(r"(localhost|127(\.\d{1,3}){3})(:\d{1,5})?")
_USAGE_FIELDS: Final = frozenset({"lag_s", "overbill_percent", "bytes_per_kb", "status"})

Route = Callable[[Request, str], Awaitable[Response]]


class Ports(Protocol):
    """What the admin endpoint asks of the server around the state."""

    origins: Origins

    def ports(self) -> dict[str, Any]:
        """Where everything listens."""

    def apply_port_switch(self) -> None:
        """Open or close the proxy ports as the switch says. Raises OSError."""

    def is_accepting(self) -> bool:
        """Whether the proxy ports are open."""

    def cut(self, scope: str) -> int:
        """Reset the running tunnels of a scope; how many."""

    def static_list(self) -> list[str]:
        """``host:port:user:pass`` lines."""


class Admin:
    """Routes of one provider."""

    def __init__(self, state: ProviderState, ports: Ports) -> None:
        self._state = state
        self._ports = ports
        self._registry = CollectorRegistry()
        self._registry.register(ProviderMetrics(state))
        self._routes: tuple[tuple[str, re.Pattern[str], Route], ...] = (
            ("GET", re.compile(r"/healthz"), self._healthz),
            ("GET", re.compile(r"/readyz"), self._readyz),
            ("GET", re.compile(r"/metrics"), self._metrics),
            ("GET", re.compile(r"/state"), self._get_state),
            ("GET", re.compile(r"/sessions"), self._get_sessions),
            ("GET", re.compile(r"/sessions/([^/]+)"), self._get_session),
            ("POST", re.compile(r"/sessions/([^/]+)/drift"), self._drift),
            ("POST", re.compile(r"/duplicate"), self._duplicate),
            ("GET", re.compile(r"/switches"), self._get_switches),
            ("PUT", re.compile(r"/switches"), self._put_switches),
            ("POST", re.compile(r"/switches/reset"), self._reset_switches),
            ("POST", re.compile(r"/cut"), self._cut),
            ("PUT", re.compile(r"/usage-settings"), self._put_usage),
            ("GET", re.compile(r"/origin"), self._get_origin),
            ("GET", re.compile(r"/static-list"), self._get_static_list),
            ("GET", re.compile(re.escape(usage_api.PATH)), self._usage),
        )

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        _refuse_web_pages(request)
        fits = [(method, route, match) for method, pattern, route in self._routes
                if (match := pattern.fullmatch(request.path))]  # fmt: skip
        for method, route, match in fits:
            if method == request.method:
                return await self._answer(route, request, match[1] if match.re.groups else "")
        if fits:
            raise HttpError(405, "method_not_allowed", "This method is not allowed here.")
        raise HttpError(404, "not_found", "Not found.")

    async def _answer(self, route: Route, request: Request, key: str) -> Response:
        try:
            return await route(request, key)
        except UnknownSticky as unknown:
            raise HttpError(404, "not_found", f"{unknown}.") from unknown
        except NoExit as none_there:
            raise HttpError(409, "no_exit", f"No exit in {none_there}.") from none_there
        except (SwitchError, ValueError) as wrong:
            raise HttpError(400, "invalid_input", str(wrong)) from wrong

    async def _healthz(self, _request: Request, _key: str) -> Response:
        return Response.of_json({"status": "ok"})

    async def _readyz(self, _request: Request, _key: str) -> Response:
        if self._ports.is_accepting():
            return Response.of_json({"status": "ready"})
        return Response.of_json({"status": "not ready", "reason": "the proxy port is switched off"}, 503)

    async def _metrics(self, _request: Request, _key: str) -> Response:
        return Response(body=generate_latest(self._registry), content_type="text/plain; version=0.0.4; charset=utf-8")

    async def _get_state(self, _request: Request, _key: str) -> Response:
        return Response.of_json({**self._ports.ports(), **self._state.snapshot()})

    async def _get_sessions(self, request: Request, _key: str) -> Response:
        wanted = request.query.get("account")
        found = [sticky for sticky in self._state.stickies.all() if wanted in (None, sticky.account.name)]
        limit = int(request.query.get("limit", SESSIONS_LISTED))
        items = [sticky.as_dict() for sticky in islice(reversed(found), max(0, limit))]
        return Response.of_json({"items": items, "total": len(found)})

    async def _get_session(self, _request: Request, key: str) -> Response:
        return Response.of_json(self._state.stickies.find(key).as_dict())

    async def _drift(self, request: Request, key: str) -> Response:
        wish = _only(await request.json_object(), {"country"})
        sticky = self._state.stickies.drift(key, self._state.now(), wish.get("country"))
        log.info("simulator.drifted", sticky=sticky.name, exit_ip=sticky.exit_ip)
        return Response.of_json(sticky.as_dict())

    async def _duplicate(self, request: Request, _key: str) -> Response:
        pair = _only(await request.json_object(), {"sessions"}).get("sessions")
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(key, str) for key in pair)):
            raise ValueError("sessions: a list of two session ids")
        sticky = self._state.stickies.duplicate(pair[0], pair[1], self._state.now())
        log.info("simulator.duplicated", sticky=sticky.name, exit_ip=sticky.exit_ip)
        return Response.of_json(sticky.as_dict())

    async def _get_switches(self, _request: Request, _key: str) -> Response:
        return Response.of_json(self._state.board.as_dict())

    async def _put_switches(self, request: Request, _key: str) -> Response:
        changes = await request.json_object()
        scope = changes.pop("scope", ALL)
        self._state.board.set(str(scope), **changes)
        self._apply_ports()
        log.info("simulator.switched", scope=scope, **changes)
        return Response.of_json(self._state.board.as_dict())

    async def _reset_switches(self, request: Request, _key: str) -> Response:
        self._state.board.reset(_only(await request.json_object(), {"scope"}).get("scope"))
        self._apply_ports()
        log.info("simulator.switches_reset")
        return Response.of_json(self._state.board.as_dict())

    def _apply_ports(self) -> None:
        try:
            self._ports.apply_port_switch()
        except OSError as taken:
            raise HttpError(409, "port_taken", f"The proxy port cannot be opened: {taken.strerror}.") from taken

    async def _cut(self, request: Request, _key: str) -> Response:
        scope = _only(await request.json_object(), {"scope"}).get("scope", ALL)
        return Response.of_json({"cut": self._ports.cut(str(scope))})

    async def _put_usage(self, request: Request, _key: str) -> Response:
        changes = _only(await request.json_object(), set(_USAGE_FIELDS))
        self._state.usage = changed_usage(self._state.usage, changes)
        return Response.of_json(self._state.snapshot()["usage_settings"])

    async def _get_origin(self, _request: Request, _key: str) -> Response:
        return Response.of_json({"peers": self._ports.origins.peers()})

    async def _get_static_list(self, _request: Request, _key: str) -> Response:
        return Response.of_text("".join(line + "\n" for line in self._ports.static_list()))

    async def _usage(self, request: Request, _key: str) -> Response:
        return usage_api.answer_usage(self._state, request)


def changed_usage(usage: UsageSettings, changes: dict[str, Any]) -> UsageSettings:
    """The settings with some fields changed. Raises ValueError naming what is wrong."""
    changes = dict(changes)
    if "overbill_percent" in changes:
        try:
            changes["overbill_percent"] = Decimal(str(changes["overbill_percent"]))
        except InvalidOperation:
            raise ValueError("overbill_percent is a decimal number") from None
    for name in changes.keys() - {"overbill_percent"}:
        if type(changes[name]) is not int and not (name == "status" and changes[name] is None):
            raise ValueError(f"{name} is a whole number")
    return replace(usage, **changes)


def _only(given: dict[str, Any], known: set[str]) -> dict[str, Any]:
    if unknown := given.keys() - known:
        raise ValueError(f"unknown field {min(unknown)!r}")
    return given


def _refuse_web_pages(request: Request) -> None:
    """A page in the operator's browser must not reach this port: told by its Origin, or by a Host that was rebound."""
    if "origin" in request.headers or not _LOCAL_HOST.fullmatch(request.headers.get("host", "")):
        raise HttpError(403, "forbidden", "Only local tools may talk to the simulator.")
