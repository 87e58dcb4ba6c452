"""Signing in and registering. The forms speak to the API, which sets the cookies."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from whago.web.deps import PageUser
from whago.web.pages.rendering import VisitorPage

HOME: Final = "/dashboard"
NEXT_MAX_CHARS: Final = 500

router = APIRouter()


@router.get("/")
def start(page: VisitorPage) -> RedirectResponse:
    """To the dashboard, or to the door."""
    return RedirectResponse(HOME if page.user else "/login", 303)


@router.get("/login")
def login(page: VisitorPage, next: str = "") -> Response:  # noqa: A002 - the name that people see in the address
    return _door(page, "account/login.html", next)


@router.get("/register")
def register(page: VisitorPage, next: str = "") -> Response:  # noqa: A002
    return _door(page, "account/register.html", next)


@router.get("/renew")
def renew(_user: PageUser) -> Response:
    """For scripts whose access cookie has ended: asking for who they are renews it."""
    return Response(status_code=204)


def local_path(wanted: str) -> str:
    """Where to go after signing in: a path of ours, whatever the address said."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\", "/api/", "/login", "/register"))
    return wanted if is_ours and len(wanted) <= NEXT_MAX_CHARS and wanted.isprintable() else HOME


def _door(page: VisitorPage, template: str, wanted: str) -> Response:
    if page.user:
        return RedirectResponse(local_path(wanted), 303)
    after = local_path(wanted)
    return page.draw(template, next=after, next_query=f"?next={quote(after, safe='')}" if after != HOME else "")
