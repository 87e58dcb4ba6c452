"""``whago web``: the pages and the API in one process."""

from __future__ import annotations

from urllib.parse import urlsplit

import uvicorn

from whago.errors import SettingsError
from whago.kit import db, log
from whago.kit.collector import spare_the_collector
from whago.main.engines import bridge_fleet, gateway_address
from whago.main.post import courier_of
from whago.main.secret import secret_keys
from whago.main.servers import look_for_broker, wait_for_database
from whago.main.traces import trace
from whago.settings import Settings, load
from whago.web.app import create_app
from whago.web.config import WebConfig
from whago.web.watchdog import Watchdog

POOL_SIZE = 20  # half of the threads that serve requests; the rest wait their turn or need no database
KEEP_ALIVE_S = 15  # longer than the pages' refresh, so that a browser keeps its connection
DRAIN_S = 5  # the supervisor gives seven
BACKLOG = 1_024


def run(host: str, port: int) -> None:
    """Serves until asked to stop. Raises SettingsError with what is missing."""
    settings = load()
    log.configure(settings.log_format, "web")
    trace(settings, "web")
    if settings.database_url is None:
        raise SettingsError("WHAGO_DATABASE_URL is not set: it names the PostgreSQL database of this installation.")
    wait_for_database(settings.database_url, settings.start_wait_s)
    if settings.broker_url is not None:
        look_for_broker(settings.broker_url)
    db.connect(settings.database_url, pool_size=POOL_SIZE, most=settings.database_connections)
    Watchdog(courier_of(settings), settings.tz).start()
    app = create_app(web_config(settings))
    spare_the_collector()
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,  # /metrics counts requests; bodies and queries belong to nobody's log
        server_header=False,
        proxy_headers=True,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
    )


def web_config(settings: Settings) -> WebConfig:
    """What the application is given out of the settings."""
    secret = settings.bridge_secret.get_secret_value() if settings.bridge_secret else None
    return WebConfig(
        tz=settings.tz,
        secrets=secret_keys(settings),
        gateway_address=gateway_address(settings),
        allow_private_upstreams=settings.allow_private_upstreams,
        rotations_per_day=settings.rotations_per_day,
        probe_bytes_per_day=settings.probe_bytes_per_day,
        bridge=bridge_fleet(settings),
        bridge_secret=secret,
        broker_url=settings.broker_url,
        public_url=settings.public_url,
        cookie_secure=_cookie_secure(settings),
        require_staff_totp=settings.require_admin_totp,
    )


def _cookie_secure(settings: Settings) -> bool:
    if settings.cookie_secure is not None:
        return settings.cookie_secure
    return settings.public_url is not None and urlsplit(settings.public_url).scheme == "https"
