"""What each page of the administration asks for, read from its route: so no button can tell otherwise."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from whago.domain.rules.roles import Permit

_IDENT: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAMED: Final = re.compile(r"\{\w+\}")

_permits: Final[dict[str, Permit]] = {}  # by path, with a star for every identifier


def learn(router: APIRouter) -> None:
    """Takes the pages of a router in."""
    for route in router.routes:
        if isinstance(route, APIRoute) and (permit := _permit_of_route(route)):
            _permits[_NAMED.sub("*", route.path)] = permit


def permit_of(href: str) -> Permit | None:
    """None for a page that no role is needed for."""
    return _permits.get(_IDENT.sub("*", href.partition("?")[0]))


def _permit_of_route(route: APIRoute) -> Permit | None:
    return next((call.permit for call in _calls(route.dependant) if hasattr(call, "permit")), None)


def _calls(dependant: Dependant) -> Iterator[Any]:
    for one in dependant.dependencies:
        yield one.call
        yield from _calls(one)
