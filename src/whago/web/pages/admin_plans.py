"""Plans: what a customer may use a month, editable."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.paging import MAX_LIMIT
from whago.domain.queries.plans import get_plan, list_plans
from whago.web.pages.rendering import AdminPage, CostsPage, Page

PATH: Final = "/admin/plans"
API: Final = "/api/v1/admin/plans"

router = APIRouter(prefix=PATH)


@router.get("")
def plans_page(page: CostsPage) -> Response:
    return page.draw(
        "admin/_plans.html" if page.is_fragment else "admin/plans.html", plans=list_plans(limit=MAX_LIMIT).items
    )


@router.get("/dialogs/new")
def new_plan(page: AdminPage) -> Response:
    return _dialog(page, "plan", api=f"POST {API}", one=None)


@router.get("/dialogs/edit/{plan_id}")
def edit_plan(plan_id: UUID, page: AdminPage) -> Response:
    return _dialog(page, "plan", api=f"PUT {API}/{plan_id}", one=get_plan(plan_id))


@router.get("/dialogs/delete/{plan_id}")
def delete_plan(plan_id: UUID, page: AdminPage) -> Response:
    return _dialog(
        page,
        "delete",
        api=f"DELETE {API}/{plan_id}",
        name=get_plan(plan_id).name,
        text=page.translate("Only a plan without customers can be deleted."),
        refresh="#plans",
        force="",
    )


def _dialog(page: Page, template: str, **context: Any) -> Response:
    if not page.is_fragment:
        return RedirectResponse(PATH, 303)
    return page.draw(f"admin/dialogs/{template}.html", **context)
