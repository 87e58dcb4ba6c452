"""The pages: server-rendered, refreshed by htmx, changing things through the JSON API as any client does."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware

from whago.web.pages import (
    account,
    admin_alerts,
    admin_audit,
    admin_bills,
    admin_chips,
    admin_overview,
    admin_plans,
    admin_proxies,
    admin_reports,
    admin_system,
    admin_users,
    channels,
    chips,
    dashboard,
    notices,
    permits,
    security,
    settings,
    usage,
)
from whago.web.pages.error_pages import error_page
from whago.web.pages.files import StaticBuild

COMPRESS_FROM_BYTES = 1_000  # below it a packet carries it anyway

PARTS = (
    account,
    dashboard,
    chips,
    usage,
    notices,
    channels,
    security,
    settings,
    admin_overview,
    admin_alerts,
    admin_bills,
    admin_proxies,
    admin_users,
    admin_chips,
    admin_plans,
    admin_reports,
    admin_audit,
    admin_system,
)

router = APIRouter()
for part in PARTS:
    router.include_router(part.router)
    permits.learn(part.router)


def install(app: FastAPI) -> None:
    """Static files, compression and the look of errors."""
    app.mount("/static/{build}", StaticBuild())
    app.add_middleware(GZipMiddleware, minimum_size=COMPRESS_FROM_BYTES)
    app.state.parts.error_page = error_page
