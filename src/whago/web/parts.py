"""The parts that every request uses, made once per process from the configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from whago.errors import WhagoError
from whago.kit.crypto import Vault
from whago.web.attempts import Attempts
from whago.web.config import Bridge, WebConfig
from whago.web.i18n import Translators
from whago.web.security import AccessTokens, Challenges, CsrfTokens

ErrorPage = Callable[[Request, WhagoError, int], Response]


class Parts:
    """``error_page`` draws errors for people; the pages set it when they are installed."""

    def __init__(self, config: WebConfig) -> None:
        self.config = config
        self.vault = Vault(config.secrets)
        self.access = AccessTokens(config.secrets)
        self.challenges = Challenges(config.secrets)
        self.csrf = CsrfTokens(config.secrets)
        self.attempts = Attempts(config.broker_url)
        self.translators = Translators(config.locales)
        self.error_page: ErrorPage | None = None

    @property
    def bridge(self) -> Bridge:
        """Raises WhagoError("bridge_unavailable") where no bridge is configured."""
        if self.config.bridge is None:
            raise WhagoError("bridge_unavailable")
        return self.config.bridge


def parts_of(connection: HTTPConnection) -> Parts:
    """The parts of the application that serves this request."""
    return cast("Parts", connection.app.state.parts)
