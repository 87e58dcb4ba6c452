"""Signing in, registering, and a forgotten password. The forms speak to the API, which sets the cookies."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.domain.queries.password_resets import reset_holds
from whago.domain.rules.roles import Permit
from whago.web.api.auth import TOKEN_MAX_CHARS
from whago.web.deps import PageUser
from whago.web.pages.rendering import VisitorPage

START: Final = "/"
HOME: Final = "/dashboard"
HOUSE_HOMES: Final = ((Permit.LOOK, "/admin"), (Permit.COSTS, "/admin/reports"))  # of the roles, the first that fits
NEXT_MAX_CHARS: Final = 500
NOT_AFTER: Final = ("//", "/\\", "/api/", "/login", "/register", "/forgot-password", "/reset-password")

router = APIRouter()


@router.get("/")
def start(page: VisitorPage) -> RedirectResponse:
    """To the first page of whoever is signed in, or to the door."""
    if page.user is None:
        return RedirectResponse("/login", 303)
    return RedirectResponse(next((home for permit, home in HOUSE_HOMES if page.may(permit)), HOME), 303)


@router.get("/login")
def login(page: VisitorPage, next: str = "") -> Response:  # noqa: A002 - the name that people see in the address
    return _door(page, "account/login.html", next)


@router.get("/register")
def register(page: VisitorPage, next: str = "") -> Response:  # noqa: A002
    return _door(page, "account/register.html", next)


@router.get("/forgot-password")
def forgot_password(page: VisitorPage) -> Response:
    """Also for somebody signed in: who forgot the password cannot change it in the settings."""
    return page.draw("account/forgot.html")


@router.get("/reset-password/{token}")
def reset_password(token: str, page: VisitorPage) -> Response:
    """The form for a new password, or what to do when the link does not hold any more."""
    if len(token) > TOKEN_MAX_CHARS or not reset_holds(token.encode("utf-8", "replace").decode(), now=page.now):
        return page.draw("account/reset_gone.html", status=404)
    return page.draw("account/reset.html", token=token)


@router.get("/renew")
def renew(_user: PageUser) -> Response:
    """For scripts whose access cookie has ended: asking for who they are renews it."""
    return Response(status_code=204)


def local_path(wanted: str) -> str:
    """Where to go after signing in: a path of ours, whatever the address said."""
    is_ours = wanted.startswith("/") and not wanted.startswith(NOT_AFTER)
    return wanted if is_ours and len(wanted) <= NEXT_MAX_CHARS and wanted.isprintable() else HOME


def _door(page: VisitorPage, template: str, wanted: str) -> Response:
    after = local_path(wanted) if wanted else START
    if page.user:
        return RedirectResponse(after, 303)
    return page.draw(template, next=after, next_query=f"?next={quote(after, safe='')}" if after != START else "")
