"""``/healthz``, ``/readyz`` and ``/metrics`` of the worker and of the scheduler, on a port of their own."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

LOOPBACK: Final = "127.0.0.1"
REQUEST_S: Final = 5.0  # a client that stays silent is not kept


class Figures(Protocol):
    """What is shown. ``why_not``: the sentence for when it is not ready."""

    registry: CollectorRegistry

    @property
    def why_not(self) -> str: ...

    @property
    def is_ready(self) -> bool: ...


class StatusListener:
    """A context manager. Listens on ``port``, or on a free one when that is taken: a status page stops no worker.

    Loopback unless ``host`` says more: figures are for the network of those who operate it, not for the world.
    """

    def __init__(self, figures: Figures, port: int, host: str = LOOPBACK) -> None:
        handler = type("Handler", (_Handler,), {"figures": figures, "timeout": REQUEST_S})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError:
            self._server = ThreadingHTTPServer((host, 0), handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> StatusListener:
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    figures: Figures

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/healthz":
                self._json(200, {"status": "ok"})
            case "/readyz" if self.figures.is_ready:
                self._json(200, {"status": "ready"})
            case "/readyz":
                self._json(503, {"status": "not ready", "reason": self.figures.why_not})
            case "/metrics":
                self._send(200, CONTENT_TYPE_LATEST, generate_latest(self.figures.registry))
            case _:
                error = {"code": "not_found", "message": "Try /healthz, /readyz or /metrics.", "details": {}}
                self._json(404, {"error": error})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Probes are not worth a line."""

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content).encode())

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        with suppress(ConnectionError):  # the client left
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
