"""What the simulated internet offers: an ip-check page, a traffic origin, and a raw echo. Plain TCP on loopback.

They stand behind every port, 443 included, without TLS: the gateway never looks inside a tunnel.

* ip-check (``ip.simulated.test``): ``GET /json`` → ``{"ip", "country", "city", "asn", "isp"}``; ``GET /`` → the IP.
* traffic (``*.whatsapp.com``, ``*.whatsapp.net``): ``GET /bytes/N`` → N patterned bytes; ``POST /sink`` →
  ``{"received": N}``; ``GET /echo`` → method, path, query and peer IP; ``POST /echo`` → the body.
* raw echo (the same hosts on port 5222, and ``echo.simulated.test``): every byte comes back; half-close is kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Final

from whago.simulator.exits import ExitBook
from whago.simulator.http import HttpError, Request, Response, StreamServer, Traffic, http_connection
from whago.simulator.targets import Pattern, TargetRule

BYTES_MAX: Final = 10**10  # of one download
PEERS_MAX: Final = 10_000  # peer addresses remembered; the oldest goes first
ECHO_READ_BYTES: Final = 65_536
_PATTERN: Final = bytes(i % 251 for i in range(251 * 256))  # a prime period, so that shifted or lost bytes show


def pattern(start: int, count: int) -> bytes:
    """``count`` (at most 64,000) bytes of the download at offset ``start``: byte i is ``i % 251``."""
    begin = start % 251
    return (_PATTERN + _PATTERN[:251])[begin : begin + count]


class Origins:
    """The built-in origins of one provider, listening on free ports of ``host``."""

    def __init__(self, exits: ExitBook, host: str = "127.0.0.1") -> None:
        self._exits = exits
        self._host = host
        self._servers = (
            StreamServer(http_connection(self._ip_check)),
            StreamServer(http_connection(self._serve_traffic, self._traffic_of)),
            StreamServer(self._serve_echo),
        )
        self._peers: OrderedDict[str, Traffic] = OrderedDict()
        self.ip_check: tuple[str, int] = (host, 0)
        self.traffic: tuple[str, int] = (host, 0)
        self.echo: tuple[str, int] = (host, 0)

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self.ip_check, self.traffic, self.echo = [await server.start(self._host, 0) for server in self._servers]

    async def stop(self) -> None:
        """Stop listening and end every connection."""
        for server in self._servers:
            await server.stop()

    def rules(self) -> list[TargetRule]:
        """How the built-in names lead here."""
        whatsapp = ("*.whatsapp.com", "*.whatsapp.net", "whatsapp.com", "whatsapp.net")
        return [
            TargetRule(Pattern("ip.simulated.test", None), *self.ip_check),
            TargetRule(Pattern("echo.simulated.test", None), *self.echo),
            *(TargetRule(Pattern(host, 5222), *self.echo) for host in whatsapp),
            *(TargetRule(Pattern(host, None), *self.traffic) for host in whatsapp),
        ]

    def peers(self) -> dict[str, dict[str, int]]:
        """What the traffic origin and the echo saw of each address: connections, bytes_in, bytes_out."""
        return {
            ip: {"connections": seen.connections, "bytes_in": seen.bytes_in, "bytes_out": seen.bytes_out}
            for ip, seen in self._peers.items()
        }

    def _traffic_of(self, peer_ip: str) -> Traffic:
        traffic = self._peers.setdefault(peer_ip, Traffic())
        self._peers.move_to_end(peer_ip)
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)
        return traffic

    async def _ip_check(self, request: Request) -> Response:
        if request.path == "/":
            return Response.of_text(request.peer_ip + "\n")
        if request.path != "/json":
            raise HttpError(404, "not_found", "Try / or /json.")
        place = self._exits.place_of(request.peer_ip)
        return Response.of_json(
            {
                "ip": request.peer_ip,
                "country": place.country if place else None,
                "city": place.city if place else None,
                "asn": place.asn if place else None,
                "isp": place.isp if place else None,
            }
        )

    async def _serve_traffic(self, request: Request) -> Response:
        head, _, tail = request.path[1:].partition("/")
        match request.method, head:
            case "GET" | "HEAD", "bytes":
                return _download(tail)
            case "POST", "sink":
                return Response.of_json({"received": sum([len(piece) async for piece in request.pieces()])})
            case "GET", "echo":
                seen = {"method": request.method, "path": request.path, "query": request.query, "ip": request.peer_ip}
                return Response.of_json(seen)
            case "POST", "echo":
                return Response(body=await request.body(), content_type="application/octet-stream")
            case "GET", "":
                return Response.of_text("simulated origin\n")
        raise HttpError(404, "not_found", "Try /bytes/N, /sink or /echo.")

    async def _serve_echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        traffic = self._traffic_of(writer.get_extra_info("peername")[0])
        traffic.connections += 1
        try:
            while chunk := await reader.read(ECHO_READ_BYTES):
                traffic.bytes_in += len(chunk)
                writer.write(chunk)
                await writer.drain()
                traffic.bytes_out += len(chunk)
        except OSError:
            pass  # the other side broke off
        finally:
            writer.close()


def _download(wanted: str) -> Response:
    if not (wanted.isascii() and wanted.isdigit() and len(wanted) <= len(str(BYTES_MAX)) and int(wanted) <= BYTES_MAX):
        raise HttpError(400, "invalid_input", f"/bytes/N takes a number up to {BYTES_MAX}.")
    return Response(content_type="application/octet-stream", stream=_patterned(int(wanted)), length=int(wanted))


async def _patterned(count: int) -> AsyncIterator[bytes]:
    for _ in range(count // len(_PATTERN)):
        yield _PATTERN
    yield _PATTERN[: count % len(_PATTERN)]
