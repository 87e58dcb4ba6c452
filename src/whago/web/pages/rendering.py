"""From a template and what a route knows to a response: one ``Page`` per request."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from whago.domain.queries.notifications import unread_count
from whago.domain.queries.users import UserView
from whago.domain.rules.roles import Permit
from whago.web.deps import Now, PageUser, Visitor, check_permit, csrf_token
from whago.web.i18n import LANGUAGES, Translator
from whago.web.pages import labels
from whago.web.pages.assets import build, icon
from whago.web.pages.formats import Formats, zone_of
from whago.web.pages.permits import permit_of
from whago.web.pages.words import words
from whago.web.parts import parts_of

TEMPLATES: Final = Path(__file__).resolve().parent.parent / "templates"
THEMES: Final = ("light", "dark")
THEME_COOKIE: Final = "whago_theme"
ZONE_COOKIE: Final = "whago_tz"
LANGUAGE_COOKIE: Final = "whago_language"
HTMX_CONFIG: Final = {
    "disableInheritance": True,  # a click inside a live part must not wait for, or be dropped by, its refreshing
    "allowEval": False,  # the content security policy would refuse it anyway
    "allowScriptTags": False,
    "includeIndicatorStyles": False,
    "selfRequestsOnly": True,
    "historyCacheSize": 0,  # pages may show a credential once: never keep them in the browser's storage
    "refreshOnHistoryMiss": True,
    "timeout": 10_000,
}

_environment = Environment(
    loader=FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class Page:
    """Who looks, in which language, zone and theme; draws templates for them."""

    def __init__(self, request: Request, user: UserView | None, now: datetime) -> None:
        self.request = request
        self.user = user
        self.now = now
        self.translate = page_translator(request, user)
        zone = (user.time_zone if user is not None else None) or request.cookies.get(ZONE_COOKIE)
        self.formats = Formats(self.translate.locale, zone_of(zone, parts_of(request).config.tz))
        theme = request.cookies.get(THEME_COOKIE)
        self.theme = theme if theme in THEMES else None

    @property
    def owner_id(self) -> UUID:
        """Whose page it is; only for routes that ask for somebody signed in."""
        assert self.user is not None
        return self.user.id

    def may(self, permit: str) -> bool:
        """Whether the reader's role allows it: for buttons, which the server refuses all the same."""
        return self.user is not None and self.user.may(Permit(permit))

    def may_open(self, href: str) -> bool:
        """Whether the reader's role allows the page or dialog at this address."""
        permit = permit_of(href)
        return permit is None or self.may(permit)

    @property
    def is_fragment(self) -> bool:
        """Whether htmx asks for a part of a page, not for the page."""
        headers = self.request.headers
        return headers.get("HX-Request") == "true" and headers.get("HX-History-Restore-Request") != "true"

    def draw(self, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """The template as a response. What every template may use is in ``_shared``."""
        html = _environment.get_template(template).render(**self._shared(), **context)
        return HTMLResponse(html, status, headers={"Vary": "HX-Request, Cookie, Accept-Language"})

    def _shared(self) -> dict[str, Any]:
        csrf_token(self.request)  # sets the cookie that scripts send back
        say = self.translate
        return {
            "page": self,
            "user": self.user,
            "now": self.now,
            "language": say.language,
            "languages": LANGUAGES,
            "path": self.request.url.path,
            "_": say,
            "many": say.many,
            "fmt": self.formats,
            "labels": labels,
            "label": lambda kind, code: labels.label(kind, code, say),
            "event_detail": lambda event: labels.event_detail(event.kind, event.data, say),
            "icon": icon,
            "static": static,
            "unread": partial(_unread, self.user),
            "words": lambda: as_json(words(say)),
            "htmx_config": json.dumps(HTMX_CONFIG),
        }


def static(path: str) -> str:
    """Where a static file is. The address names the build, so browsers keep it for ever; files link relatively."""
    return f"/static/{build()}/{path}"


def as_json(content: Any) -> Markup:
    """JSON for a data block: whatever could end the block or begin a comment is escaped."""
    text = json.dumps(content, ensure_ascii=False)
    for sign, escaped in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(sign, escaped)
    return Markup(text)  # noqa: S704 - escaped above


def page_translator(request: Request, user: UserView | None) -> Translator:
    """The user's language, else the one chosen in this browser, else what the browser asks for."""
    chosen = user.language if user is not None else None
    return parts_of(request).translators.choose(
        chosen or request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language")
    )


def _unread(user: UserView | None) -> int:
    return unread_count(user.id) if user is not None else 0


def visitor_page(request: Request, user: Visitor, now: Now) -> Page:
    return Page(request, user, now)


def customer_page(request: Request, user: PageUser, now: Now) -> Page:
    return Page(request, user, now)


def permitted_page(permit: Permit) -> Callable[..., Page]:
    """The dependency of a page of the administration: for roles that allow it. Raises WhagoError("forbidden")."""

    def check(request: Request, user: PageUser, now: Now) -> Page:
        check_permit(user, permit)
        return Page(request, user, now)

    check.permit = permit  # type: ignore[attr-defined]
    return check


VisitorPage = Annotated[Page, Depends(visitor_page)]
CustomerPage = Annotated[Page, Depends(customer_page)]
AdminPage = Annotated[Page, Depends(permitted_page(Permit.CHANGE))]
LookPage = Annotated[Page, Depends(permitted_page(Permit.LOOK))]
CostsPage = Annotated[Page, Depends(permitted_page(Permit.COSTS))]
BillsPage = Annotated[Page, Depends(permitted_page(Permit.BILLS))]
