"""What people change about themselves: profile, password, language, time zone, API keys."""

from __future__ import annotations

import json
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.api_keys import list_api_keys
from whago.domain.queries.paging import MAX_LIMIT
from whago.domain.rules.scopes import EVERY_SCOPE, Scope
from whago.errors import WhagoError
from whago.web.api.fields import TIME_ZONES
from whago.web.deps import Parted
from whago.web.pages.rendering import CustomerPage, Page

PATH: Final = "/settings"
KEYS_PATH: Final = f"{PATH}/api-keys"
KEYS_API: Final = "/api/v1/api-keys"
ZONES: Final = tuple(sorted(name for name in TIME_ZONES if "/" in name and not name.startswith(("Etc/", "SystemV/"))))

router = APIRouter(prefix=PATH)


@router.get("")
def settings_page(page: CustomerPage) -> Response:
    return page.draw("settings/account.html", zones=ZONES, zone_now=page.formats.tz.key)


@router.get("/api-keys")
def keys_page(page: CustomerPage, parts: Parted) -> Response:
    """The keys, or for htmx their table alone."""
    return page.draw(
        "settings/_keys.html" if page.is_fragment else "settings/keys.html",
        keys=list_api_keys(page.owner_id, limit=MAX_LIMIT).items,
        base_url=parts.config.public_url or str(page.request.base_url).rstrip("/"),
    )


@router.get("/api-keys/new")
def new_key(page: CustomerPage, parts: Parted) -> Response:
    return _dialog(
        page,
        "settings/key_new.html",
        api=f"POST {KEYS_API}",
        choices=_choices(page),
        base_url=parts.config.public_url or str(page.request.base_url).rstrip("/"),
    )


@router.get("/api-keys/{key_id}/revoke")
def revoke_key(key_id: UUID, page: CustomerPage) -> Response:
    """Raises WhagoError("not_found"), also for another's."""
    key = next((one for one in list_api_keys(page.owner_id, limit=MAX_LIMIT).items if one.id == key_id), None)
    if key is None:
        raise WhagoError("not_found")
    return _dialog(page, "settings/key_revoke.html", api=f"DELETE {KEYS_API}/{key_id}", key=key)


def _choices(page: Page) -> list[tuple[str, str, str]]:
    """Scopes as JSON, what they are called, and what that means; the least first."""
    say = page.translate
    choices = [
        ((Scope.READ,), say("Only look"), say("Reads chips, usage and notices; changes nothing.")),
        ((Scope.READ, Scope.WRITE), say("Look and change"), say("Also creates, connects and deletes chips.")),
    ]
    if page.user is not None and page.user.is_staff:
        choices.append((EVERY_SCOPE, say("Everything"), say("Also the administration, as far as your role goes.")))
    return [(json.dumps(list(scopes)), name, hint) for scopes, name, hint in choices]


def _dialog(page: Page, template: str, **context: Any) -> Response:
    if not page.is_fragment:
        return RedirectResponse(KEYS_PATH, 303)
    return page.draw(template, **context)
