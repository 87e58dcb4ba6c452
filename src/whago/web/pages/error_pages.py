"""Errors as pages: what happened, in the reader's words, and a way on."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response

from whago.errors import WhagoError
from whago.kit import clock
from whago.web.deps import SECURITY_PAGE, remembered
from whago.web.pages.labels import N_
from whago.web.pages.rendering import Page

TITLES: Final = {
    403: N_("Not for this account"),
    404: N_("This page does not exist"),
    405: N_("This does not work here"),
    500: N_("Something broke on our side"),
    503: N_("Back in a moment"),
}
SYMBOLS: Final = {403: "ban", 404: "search", 503: "refresh-cw"}
FALLBACK_TITLE: Final = N_("This did not work")


def error_page(request: Request, error: WhagoError, status: int) -> Response:
    """The page for an error; whoever is not signed in is sent to the door with the way back.

    Whoever still owes the second factor of their role is sent to where it is set up.
    """
    is_fragment = request.headers.get("HX-Request") == "true"
    if error.code == "not_authenticated" and not is_fragment:
        return RedirectResponse(f"/login?next={quote(_here(request), safe='')}", 303)
    if error.code == "totp_setup_required" and not is_fragment:
        return RedirectResponse(SECURITY_PAGE, 303)
    if is_fragment:
        return PlainTextResponse(error.code, status)
    page = Page(request, remembered(request), clock.now())
    say = page.translate
    return page.draw(
        "errors/error.html",
        status=status,
        title=say(TITLES.get(status, FALLBACK_TITLE)),
        message=say(error.template, **error.details),
        symbol=SYMBOLS.get(status, "circle-alert"),
        request_id=error.details.get("request_id"),
    )


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
