"""Customers: everybody, each one's chips, and the proxy of each chip."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.chips import chips_of_users
from whago.domain.queries.paging import MAX_LIMIT
from whago.domain.queries.plans import PlanView, list_plans
from whago.domain.queries.user_months import bytes_of_users
from whago.domain.queries.users import get_user, list_users
from whago.web.api.fields import Cursor, Search
from whago.web.deps import Month
from whago.web.pages import labels
from whago.web.pages.listing import address, next_page
from whago.web.pages.rendering import AdminPage, LookPage, Page

PATH: Final = "/admin/users"
API: Final = "/api/v1/admin/users"
SHOWN: Final = 20  # customers a page: each is a card with its chips
SHOWN_CHIPS: Final = 10  # chips a card; the others are one click away

router = APIRouter(prefix=PATH)


@router.get("")
def users_page(page: LookPage, month: Month, search: Search = None, plan: str = "", cursor: Cursor = None) -> Response:
    """The list, or for htmx the part of it that refreshes."""
    plans = _plans()
    wanted = next((one.id for one in plans if str(one.id) == plan), None)
    found = list_users(search=search, plan_id=wanted, limit=SHOWN, cursor=cursor)
    ids = [one.id for one in found.items]
    filters = {"search": search or "", "plan": str(wanted or "")}
    return page.draw(
        "admin/_users.html" if page.is_fragment else "admin/users.html",
        users=found.items,
        chips_of=chips_of_users(ids, month=month, each=SHOWN_CHIPS),
        bytes_of=bytes_of_users(ids, month=month),
        plans=plans,
        filters=filters,
        here=address(PATH, {**filters, "cursor": cursor}),
        next_href=next_page(PATH, filters, found.next_cursor),
        first_href=address(PATH, filters) if cursor else None,
    )


@router.get("/dialogs/new")
def new_user(page: AdminPage) -> Response:
    say = page.translate
    options = [("", say("Default plan")), *_options(_plans())]
    roles = [(code, say(name)) for code, name in labels.ROLES.items()]
    return _dialog(page, "user_new", api=f"POST {API}", plan_options=options, role_options=roles)


@router.get("/dialogs/plan/{user_id}")
def plan_dialog(user_id: UUID, page: AdminPage) -> Response:
    one = get_user(user_id)
    return _dialog(page, "user_plan", api=f"PATCH {API}/{user_id}", one=one, plan_options=_options(_plans()))


@router.get("/dialogs/role/{user_id}")
def role_dialog(user_id: UUID, page: AdminPage) -> Response:
    say = page.translate
    choices = [(code, say(name), say(labels.ROLE_HINTS[code])) for code, name in labels.ROLES.items()]
    return _dialog(page, "user_role", api=f"PATCH {API}/{user_id}", one=get_user(user_id), choices=choices)


@router.get("/dialogs/security/{user_id}")
def security_dialog(user_id: UUID, page: AdminPage) -> Response:
    return _dialog(page, "user_security", api=f"POST {API}/{user_id}/sign-out", one=get_user(user_id), users_api=API)


@router.get("/dialogs/password/{user_id}")
def password_dialog(user_id: UUID, page: AdminPage) -> Response:
    return _dialog(page, "user_password", api=f"PATCH {API}/{user_id}", one=get_user(user_id))


@router.get("/dialogs/suspend/{user_id}")
def suspend_dialog(user_id: UUID, page: AdminPage) -> Response:
    return _dialog(page, "user_active", api=f"PATCH {API}/{user_id}", one=get_user(user_id))


@router.get("/dialogs/resume/{user_id}")
def resume_dialog(user_id: UUID, page: AdminPage) -> Response:
    return _dialog(page, "user_active", api=f"PATCH {API}/{user_id}", one=get_user(user_id))


def _plans() -> list[PlanView]:
    return list(list_plans(limit=MAX_LIMIT).items)


def _options(plans: list[PlanView]) -> list[tuple[str, str]]:
    return [(str(plan.id), plan.name) for plan in plans]


def _dialog(page: Page, template: str, **context: Any) -> Response:
    if not page.is_fragment:
        return RedirectResponse(PATH, 303)
    return page.draw(f"admin/dialogs/{template}.html", **context)
