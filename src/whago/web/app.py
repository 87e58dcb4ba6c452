"""The web application: the JSON API, the pages, and the doors for machines (health, metrics, the bridge's events)."""

from __future__ import annotations

import importlib
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from whago.web import errors, health
from whago.web.api import (
    admin_alerts,
    admin_chips,
    admin_plans,
    admin_reports,
    admin_users,
    api_keys,
    auth,
    bills,
    bridge_events,
    bridge_state,
    channels,
    chips,
    customer_webhooks,
    notifications,
    own_reports,
    plans,
    pool,
    provider_presets,
    providers,
    reports,
    sign_in_security,
    stats,
    usage,
)
from whago.web.config import WebConfig
from whago.web.middleware import API_PREFIX, Envelope, Figures
from whago.web.parts import Parts
from whago.web.shedding import Shedding

OPENAPI_PATH = "/api/openapi.json"
VERSION = "1.0.0"

PROXY_ADMIN = (provider_presets, providers, bills, pool, stats)
RESOURCES = (
    auth,
    sign_in_security,
    api_keys,
    channels,
    chips,
    usage,
    own_reports,
    notifications,
    plans,
    *PROXY_ADMIN,
    admin_users,
    admin_plans,
    admin_chips,
    admin_reports,
    reports,
    admin_alerts,
)


def create_app(config: WebConfig) -> FastAPI:
    """The application. The database must be connected (``kit.db.connect``) before it serves."""
    app = FastAPI(
        title="WHAGO",
        version=VERSION,
        summary="Sticky residential proxies for WhatsApp chips: metered, priced and capped to the byte.",
        openapi_url=OPENAPI_PATH,
        webhooks=customer_webhooks.router,
        docs_url=None,  # their pages load scripts from elsewhere, which our policy forbids
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        redirect_slashes=False,
    )
    app.state.parts = Parts(config)
    figures = Figures()
    app.state.figures = figures
    app.add_middleware(Shedding)
    app.add_middleware(Envelope, figures=figures, cookie_secure=config.cookie_secure)
    errors.install(app)
    app.include_router(_api())
    for module in PROXY_ADMIN:  # the nine routes are also served at exactly these paths
        app.include_router(module.router, include_in_schema=False)
    app.include_router(bridge_events.router)
    app.include_router(bridge_state.router)
    app.include_router(health.router)
    _include_pages(app)
    return app


def _api() -> APIRouter:
    api = APIRouter(prefix=API_PREFIX)
    for module in RESOURCES:
        api.include_router(module.router)
    return api


def _include_pages(app: FastAPI) -> None:
    """The pages bring a ``router`` with their routes, and ``install(app)`` for templates, static files and errors."""
    pages: Any = importlib.import_module("whago.web.pages")
    if hasattr(pages, "install"):
        pages.install(app)
    if hasattr(pages, "router"):
        app.include_router(pages.router, include_in_schema=False)


def _operation_id(route: APIRoute) -> str:
    return route.name
