"""Real receivers on loopback: a mail server and a customer's web server, which remember what came."""

from __future__ import annotations

import email
import email.policy
import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from aiosmtpd.controller import Controller

SOON_S = 20.0


@dataclass
class MailServer:
    """``answers``: what to say to the next messages instead of taking them."""

    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list)
    answers: deque[str] = field(default_factory=deque)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        if self.answers:
            return self.answers.popleft()
        message = cast("EmailMessage", email.message_from_bytes(envelope.content, policy=email.policy.default))
        assert envelope.rcpt_tos == [message["To"]]
        self.messages.append(message)
        return "250 taken"

    def subjects(self, to: str | None = None) -> list[str]:
        return [str(one["Subject"]) for one in self.messages if to is None or one["To"] == to]


class _AnyPort(Controller):
    """Listens on a free port: the controller's own greeting would go to port 0."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    controller = _AnyPort(server, hostname="127.0.0.1", port=0)
    controller.start()
    server.port = controller.port
    try:
        yield server
    finally:
        controller.stop()


@dataclass
class Call:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class Customer:
    """A customer's web server. ``answers``: status, headers and body of the next answers; then 204.

    ``slow_s``: how long it thinks first; ``arrived`` is set as soon as a whole request is there.
    """

    port: int = 0
    calls: list[Call] = field(default_factory=list)
    answers: deque[tuple[int, dict[str, str], bytes]] = field(default_factory=deque)
    slow_s: float = 0.0
    arrived: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?from=whago"

    def types(self) -> list[str]:
        return [str(one.content["type"]) for one in self.calls]


@contextmanager
def customer() -> Iterator[Customer]:
    receiver = Customer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.calls.append(Call(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            receiver.arrived.set()
            if receiver.slow_s:
                time.sleep(receiver.slow_s)
            status, headers, said = receiver.answers.popleft() if receiver.answers else (204, {}, b"")
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
            except ConnectionError:
                pass

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
