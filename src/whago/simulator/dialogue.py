"""The two handshakes, read through a counting reader. Each has its credential admitted as soon as it has read it."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from whago.simulator import wire
from whago.simulator.metering import Meter
from whago.simulator.sockets import receive
from whago.simulator.wire import Refusal

READ_BYTES: Final = 4096
Admit = Callable[[str, str], None]  # (username, password); raises Refusal
Reply = Callable[[bytes], Awaitable[None]]


class ClientReader:
    """Bytes of a client during the handshake; what is left over belongs to the tunnel."""

    def __init__(self, sock: socket.socket, meter: Meter) -> None:
        self._sock = sock
        self._meter = meter
        self._buffer = bytearray()

    async def peek(self) -> int:
        """The first byte, left in place. Raises EOFError and OSError, as all reads here."""
        while not self._buffer:
            await self._fill()
        return self._buffer[0]

    async def exactly(self, count: int) -> bytes:
        """The next ``count`` bytes (at most a few hundred in SOCKS5)."""
        while len(self._buffer) < count:
            await self._fill()
        return self._take(count)

    async def until(self, mark: bytes, limit: int) -> bytes:
        """Everything up to and including ``mark``. Raises Refusal 431 when that is longer than ``limit``."""
        while (end := self._buffer.find(mark)) < 0 and len(self._buffer) < limit:
            await self._fill()
        if not 0 <= end <= limit - len(mark):
            raise Refusal(431, f"request head larger than {limit} bytes")
        return self._take(end + len(mark))

    def rest(self) -> bytes:
        """What came behind the handshake; it is tunnel traffic, already counted on the wire."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    async def _fill(self) -> None:
        chunk = await receive(self._sock, READ_BYTES)
        if not chunk:
            raise EOFError
        self._meter.up(len(chunk))
        self._buffer += chunk

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._meter.handshake_up(count)
        return taken


class Dialogue(Protocol):
    """One handshake."""

    async def target(self) -> tuple[str, int]:
        """Read the request and have its credential admitted. Raises Refusal."""

    def granted(self, bound: tuple[str, int], /) -> bytes:
        """The answer that opens the tunnel; ``bound`` is the exit's own address."""

    def refused(self, refusal: Refusal) -> bytes:
        """The answer that says no, as far as this protocol can say it."""


class HttpDialogue:
    """``CONNECT host:port`` with ``Proxy-Authorization: Basic``."""

    def __init__(self, reader: ClientReader, admit: Admit) -> None:
        self._reader = reader
        self._admit = admit

    async def target(self) -> tuple[str, int]:
        """See :class:`Dialogue`."""
        request = wire.parse_connect(await self._reader.until(wire.HEAD_END, wire.HEAD_BYTES_MAX))
        self._admit(request.username, request.password)
        return request.host, request.port

    def granted(self, _bound: tuple[str, int], /) -> bytes:
        """See :class:`Dialogue`."""
        return wire.http_established()

    def refused(self, refusal: Refusal) -> bytes:
        """See :class:`Dialogue`."""
        return wire.http_refusal(refusal)


class SocksDialogue:
    """SOCKS5 with username and password; a client that offers no such method is turned away."""

    def __init__(self, reader: ClientReader, admit: Admit, reply: Reply) -> None:
        self._reader = reader
        self._admit = admit
        self._reply = reply
        self._refused_as = wire.SOCKS_NO_METHOD

    async def target(self) -> tuple[str, int]:
        """See :class:`Dialogue`."""
        await self._greet()
        await self._authenticate()
        return await self._request()

    def granted(self, bound: tuple[str, int], /) -> bytes:
        """See :class:`Dialogue`."""
        return wire.socks_reply(0, *bound)

    def refused(self, refusal: Refusal) -> bytes:
        """The refusal in the words of the stage that was reached."""
        return self._refused_as or wire.socks_reply(wire.socks_code(refusal.status))

    async def _greet(self) -> None:
        _, methods = await self._reader.exactly(2)
        if wire.SOCKS_USERPASS not in await self._reader.exactly(methods):
            raise Refusal(407, "username and password are required")
        await self._reply(wire.SOCKS_GRANTED_METHOD)
        self._refused_as = wire.SOCKS_AUTH_FAILED

    async def _authenticate(self) -> None:
        version, length = await self._reader.exactly(2)
        username = await self._reader.exactly(length)
        password = await self._reader.exactly((await self._reader.exactly(1))[0])
        if version != 1:
            raise Refusal(400, "unknown version of username/password authentication")
        try:
            self._admit(username.decode(), password.decode())
        except UnicodeDecodeError:
            raise Refusal(407, "credential is not UTF-8") from None
        await self._reply(wire.SOCKS_AUTH_OK)
        self._refused_as = b""

    async def _request(self) -> tuple[str, int]:
        version, command, _, kind = await self._reader.exactly(4)
        if version != wire.SOCKS_VERSION or kind not in (1, 3, 4):
            raise Refusal(400, "malformed request")
        length = (await self._reader.exactly(1))[0] if kind == 3 else {1: 4, 4: 16}[kind]
        host = wire.socks_host(kind, await self._reader.exactly(length))
        port = int.from_bytes(await self._reader.exactly(2))
        if command != 1:
            raise Refusal(405, "only CONNECT is served")
        return host, port
