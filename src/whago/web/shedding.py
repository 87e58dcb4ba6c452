"""More requests at once than the process can answer soon: the rest is told so at once, and nobody waits in vain."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from whago.errors import WhagoError
from whago.web import errors

AT_ONCE: Final = 256  # forty are worked on, at some 20 ms each: whoever is let in waits a fraction of a second
ALWAYS: Final = ("/healthz", "/metrics")  # who looks after the process must see it, most of all now


class Shedding:
    """ASGI middleware. 503 with ``Retry-After`` above ``AT_ONCE`` requests of this process."""

    def __init__(self, app: ASGIApp, at_once: int = AT_ONCE) -> None:
        self.app = app
        self._room = at_once

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        if self._room <= 0:
            refusal = errors.answer(Request(scope), WhagoError("overloaded"))
            await refusal(scope, receive, send)
            return
        self._room -= 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._room += 1
