"""Structured logs: events with fields, as JSON lines or for a terminal."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, TextIO, cast

import structlog

SECRET_WORDS = ("password", "token", "secret", "credential", "authorization", "api_key", "proxy_url")
MAX_CACHED_NAMES: Final = 1024  # field names are written in the code: there are about a hundred


class Lossy:
    """A stream whose lines are dropped when the disk behind it is full: nobody stops working for want of a log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def configure(log_format: str, part: str) -> None:
    """Call once per process. ``log_format`` is ``json`` or ``console``; ``part`` names the process."""
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact,
            structlog.processors.StackInfoRenderer(),
            *([structlog.processors.format_exc_info] if log_format == "json" else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", Lossy(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(part=part)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s %(message)s")


def _redact(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """A field whose name speaks of a secret is never written, whatever it holds."""
    for name in event:
        if _is_secret(name):
            event[name] = "***"
    return event


@lru_cache(MAX_CACHED_NAMES)
def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_WORDS)
