"""The operator's own PostgreSQL and Redis: a start waits for them; what waiting cannot mend is told at once."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from typing import Final

import psycopg
import structlog
from psycopg.conninfo import conninfo_to_dict
from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from whago.errors import SettingsError
from whago.kit import broker, db
from whago.main.leash import TryLater

log = structlog.get_logger()

POLL_S: Final = 0.5  # between attempts; a refused one costs nothing
SAY_AFTER_S: Final = 1.0  # shorter waits are nobody's concern
SAY_EVERY_S: Final = 10.0  # that it still waits
CLIENT_SIDE: Final = ("certificate", "ssl", "sslmode", "invalid connection option", "invalid uri")
"""What libpq says by itself, always in English, when the URL and the server do not fit: it will not pass."""
SCHEMA: Final = "SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('plans') IS NOT NULL"
NOT_MIGRATED: Final = "it is not migrated: run whago migrate"


class _NotYet(Exception):
    """Not now, perhaps soon; the message is the reason."""


def wait_for_database(url: str, longest_s: float, *, migrated: bool = False) -> None:
    """Returns when the database answers, and, if that is asked for, when it has been migrated.

    Raises SettingsError for a certificate or an option that is wrong, TryLater after ``longest_s``.
    """
    _wait("WHAGO_DATABASE_URL", _database_location(url), lambda: _try_database(url, migrated), longest_s)


def wait_for_broker(url: str, longest_s: float) -> None:
    """Returns when the broker answers. Raises SettingsError for a certificate or password that is wrong, TryLater."""
    _wait("WHAGO_BROKER_URL", broker.location(url), lambda: _try_broker(url), longest_s)


def look_for_broker(url: str) -> None:
    """For whoever can do without it: one look, and a line in the log when it is away.

    Raises SettingsError for a certificate or password that is wrong.
    """
    try:
        _try_broker(url)
    except _NotYet as reason:
        log.warning("start.without_broker", at=broker.location(url), reason=str(reason))


def _try_broker(url: str) -> None:
    options = {"socket_connect_timeout": broker.CONNECT_TIMEOUT_S, "socket_timeout": broker.CONNECT_TIMEOUT_S}
    client = Redis.from_url(broker.without_tls(url), **options, **(broker.tls_options(url) or {}))
    try:
        client.ping()
    except AuthenticationError as error:
        raise SettingsError(f"WHAGO_BROKER_URL: the broker refuses the password: {_line(error)}") from None
    except (RedisError, OSError) as error:
        if fault := next((one for one in _causes(error) if isinstance(one, ssl.SSLError | FileNotFoundError)), None):
            told = f"its certificate cannot be checked: {_line(fault)}"
            raise SettingsError(f"WHAGO_BROKER_URL: {broker.location(url)}: {told}") from None
        raise _NotYet(_line(error)) from None
    finally:
        client.close()


def _try_database(url: str, migrated: bool) -> None:
    try:
        with psycopg.connect(db.driver_url(url), connect_timeout=db.CONNECT_TIMEOUT_S, autocommit=True) as connection:
            row = connection.execute(SCHEMA).fetchone()
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"WHAGO_DATABASE_URL: {_line(error)}") from None
    except psycopg.OperationalError as error:
        reason = _line(error)
        if any(word in reason.lower() for word in CLIENT_SIDE):
            raise SettingsError(f"WHAGO_DATABASE_URL: {reason}") from None
        raise _NotYet(reason) from None
    if migrated and not (row and row[0]):
        raise _NotYet(NOT_MIGRATED)


def _wait(setting: str, location: str, attempt: Callable[[], None], longest_s: float) -> None:
    began = time.monotonic()
    say_at = SAY_AFTER_S
    while True:
        try:
            attempt()
        except _NotYet as reason:
            waited_s = time.monotonic() - began
            if waited_s >= longest_s:
                raise TryLater(f"{setting}: {location} did not answer within {longest_s:g} s: {reason}") from None
            if waited_s >= say_at:
                say_at = waited_s + SAY_EVERY_S
                log.warning("start.waiting", setting=setting, at=location, reason=str(reason), longest_s=longest_s)
            time.sleep(POLL_S)
        else:
            if say_at > SAY_AFTER_S:
                log.info("start.answered", setting=setting, at=location)
            return


def _database_location(url: str) -> str:
    """``host:port`` of each server that the URL names."""
    try:
        given = conninfo_to_dict(db.driver_url(url))
    except psycopg.ProgrammingError as error:
        raise SettingsError(f"WHAGO_DATABASE_URL: {_line(error)}") from None
    hosts = str(given.get("host") or "localhost").split(",")
    ports = str(given.get("port") or "5432").split(",")
    return ",".join(f"{host}:{ports[min(number, len(ports) - 1)]}" for number, host in enumerate(hosts))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _line(error: BaseException) -> str:
    """The message as one line."""
    return " ".join(str(error).split()) or type(error).__name__
