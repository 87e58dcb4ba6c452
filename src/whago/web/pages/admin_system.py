"""How the product itself is: gateways, clocks, bridges, the database, versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from whago.domain.queries.machinery import bridges_now, database_facts
from whago.domain.queries.overview import CLOCKS_SILENT_AFTER, GATEWAY_SILENT_AFTER
from whago.domain.queries.system import clocks, gateways, last_beat
from whago.web.deps import Parted
from whago.web.pages.rendering import LookPage

PATH: Final = "/admin/system"

router = APIRouter(prefix=PATH)


@router.get("")
def system_page(page: LookPage, parts: Parted) -> Response:
    beat = last_beat()
    return page.draw(
        "admin/_system.html" if page.is_fragment else "admin/system.html",
        gateways=gateways(),
        silent_before=page.now - GATEWAY_SILENT_AFTER,
        clocks=clocks(),
        beat=beat,
        clocks_run=beat is not None and page.now - beat <= CLOCKS_SILENT_AFTER,
        bridges=bridges_now(now=page.now),
        database=database_facts(),
        broker_answers=parts.attempts.broker_answers(),
        version=page.request.app.version,
        python=platform.python_version(),
        billing_zone=parts.config.tz.key,
        counted=counted,
    )


def counted(counts: Mapping[str, Any]) -> str:
    """What a run did: its counts that are not zero."""
    return " · ".join(f"{name} {value}" for name, value in counts.items() if value)
