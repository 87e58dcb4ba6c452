"""A tiny HTTP listener for /healthz, /readyz, /metrics and /top, apart from the port that clients use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest

MAX_REQUEST_BYTES: Final = 8 * 1024  # a scraper's request has a few hundred
REQUEST_S: Final = 5.0  # for one request and its answer


class StatusListener:
    """``not_ready`` answers "" or a sentence that says why the process cannot serve; ``top`` what a live view shows."""

    def __init__(
        self, registry: CollectorRegistry, not_ready: Callable[[], str], top: Callable[[], dict[str, Any]]
    ) -> None:
        self._registry = registry
        self._not_ready = not_ready
        self._top = top
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_REQUEST_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.partition(b"\r\n")[0]))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked is gone, or did not ask
        finally:
            writer.close()

    def _answer(self, request_line: bytes) -> bytes:
        method, _, target = request_line.partition(b" ")
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"Only GET.\n")
        match target.partition(b" ")[0].partition(b"?")[0]:
            case b"/healthz":
                return _response("200 OK", b"ok\n")
            case b"/readyz":
                problem = self._not_ready()
                return _response("503 Service Unavailable" if problem else "200 OK", f"{problem or 'ready'}\n".encode())
            case b"/metrics":
                return _response("200 OK", generate_latest(self._registry), "text/plain; version=0.0.4")
            case b"/top":
                return _response("200 OK", json.dumps(self._top()).encode(), "application/json")
            case _:
                return _response("404 Not Found", b"There are /healthz, /readyz, /metrics and /top.\n")


def _response(status: str, body: bytes, kind: str = "text/plain") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
