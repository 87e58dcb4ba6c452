"""A small HTTP/1.1 server: enough for the origins, the admin endpoint and the usage API, with everything bounded.

Bodies are read by Content-Length only (a chunked upload is answered 411). Handlers return a :class:`Response` or raise
:class:`HttpError`; errors answer ``{"error": {"code", "message", "details"}}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

HEAD_BYTES_MAX: Final = 16_384
BODY_BYTES_MAX: Final = 1_048_576  # of a body that is kept whole; a streamed one has no limit
READ_BYTES: Final = 65_536
IDLE_S: Final = 900.0  # keep-alive: chips are silent for minutes

_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class HttpError(Exception):
    """An answer other than success; ``code`` is stable, ``message`` is for people."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@dataclass(slots=True)
class Traffic:
    """Bytes that a server received and handed to its sockets, for one peer address."""

    connections: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class Request:
    """A request whose body is still to be read. ``peer_ip`` is the address that the socket shows."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    peer_ip: str
    _reader: asyncio.StreamReader
    _traffic: Traffic
    body_left: int = 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it arrives. Raises EOFError when the client leaves in the middle."""
        while self.body_left:
            piece = await self._reader.read(min(READ_BYTES, self.body_left))
            if not piece:
                raise EOFError
            self.body_left -= len(piece)
            self._traffic.bytes_in += len(piece)
            yield piece

    async def body(self) -> bytes:
        """The whole body, at most ``BODY_BYTES_MAX``."""
        if self.body_left > BODY_BYTES_MAX:
            raise HttpError(413, "too_large", f"A body has at most {BODY_BYTES_MAX} bytes.")
        return b"".join([piece async for piece in self.pieces()])

    async def json_object(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        raw = await self.body()
        try:
            parsed = json.loads(raw) if raw else {}
        except ValueError:
            raise HttpError(400, "invalid_input", "The body is not JSON.") from None
        if not isinstance(parsed, dict):
            raise HttpError(400, "invalid_input", "The body is not a JSON object.")
        return parsed


@dataclass(slots=True)
class Response:
    """An answer: either ``body``, or ``stream`` with its exact ``length``."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    stream: AsyncIterator[bytes] | None = None
    length: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, value: Any, status: int = 200) -> Response:
        """A JSON answer."""
        return cls(status=status, body=json.dumps(value, ensure_ascii=False).encode() + b"\n")

    @classmethod
    def of_text(cls, text: str, status: int = 200) -> Response:
        """A plain text answer."""
        return cls(status=status, body=text.encode(), content_type="text/plain; charset=utf-8")


Handler = Callable[[Request], Awaitable[Response]]
TrafficOf = Callable[[str], Traffic]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


class StreamServer:
    """A listening socket and the connections that it took; all of them end with it."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> tuple[str, int]:
        """Listen, on a free port when ``port`` is 0; returns the address. Raises OSError."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=HEAD_BYTES_MAX, backlog=1024)
        bound: tuple[str, int] = self._server.sockets[0].getsockname()
        return bound

    async def stop(self) -> None:
        """Stop listening and end every connection; harmless when not started."""
        if self._server is not None:
            self._server.close()
        ending = list(self._connections)
        for connection in ending:
            connection.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)


def http_connection(handle: Handler, traffic_of: TrafficOf | None = None) -> Serve:
    """Serve HTTP on a stream; ``traffic_of`` gives the counts to keep for a peer's address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer_ip = writer.get_extra_info("peername")[0]
        traffic = traffic_of(peer_ip) if traffic_of else Traffic()
        traffic.connections += 1
        try:
            while await _exchange(reader, writer, peer_ip, traffic, handle):
                pass
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    return serve


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer_ip: str, traffic: Traffic, handle: Handler
) -> bool:
    """One request and its answer; False when the connection is to end."""
    try:
        async with asyncio.timeout(IDLE_S):
            head = await reader.readuntil(b"\r\n\r\n")
        traffic.bytes_in += len(head)
        request = _parse(head, peer_ip, reader, traffic)
    except TimeoutError:
        return False
    except (asyncio.LimitOverrunError, HttpError) as wrong:
        error = wrong if isinstance(wrong, HttpError) else HttpError(431, "too_large", "The request head is too large.")
        await _send(writer, traffic, _error(error), keep=False)
        return False
    if request.headers.get("expect", "").lower() == "100-continue":
        await _write(writer, traffic, b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        response = await handle(request)
    except HttpError as wrong:
        response = _error(wrong)
    keep = request.headers.get("connection", "").lower() != "close" and request.body_left == 0
    await _send(writer, traffic, response, keep=keep, bodyless=request.method == "HEAD")
    return keep


def _parse(head: bytes, peer_ip: str, reader: asyncio.StreamReader, traffic: Traffic) -> Request:
    line, *header_lines = head.decode("latin-1")[:-4].split("\r\n")
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] not in _METHODS or not parts[1].startswith("/") or parts[2] != "HTTP/1.1":
        raise HttpError(400, "bad_request", "This is not an HTTP/1.1 request that is served here.")
    headers = {}
    for header_line in header_lines:
        name, _, value = header_line.partition(":")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise HttpError(411, "length_required", "Send a Content-Length.")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise HttpError(400, "bad_request", "Content-Length is not a number.")
    url = urlsplit(parts[1])
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Request(parts[0], unquote(url.path), query, headers, peer_ip, reader, traffic, int(length))


def _error(error: HttpError) -> Response:
    body = {"error": {"code": error.code, "message": error.message, "details": {}}}
    return Response.of_json(body, error.status)


async def _send(
    writer: asyncio.StreamWriter, traffic: Traffic, response: Response, *, keep: bool, bodyless: bool = False
) -> None:
    length = response.length if response.stream else len(response.body)
    phrase = _PHRASES.get(response.status, "Other")
    lines = [
        f"HTTP/1.1 {response.status} {phrase}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {length}",
        *(f"{name}: {value}" for name, value in response.headers.items()),
        *([] if keep else ["Connection: close"]),
    ]
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    await _write(writer, traffic, head + (b"" if bodyless else response.body))
    if response.stream and not bodyless:
        async for piece in response.stream:
            await _write(writer, traffic, piece)


async def _write(writer: asyncio.StreamWriter, traffic: Traffic, payload: bytes) -> None:
    writer.write(payload)
    await writer.drain()
    traffic.bytes_out += len(payload)
