"""Thousands of tunnels at once: a provider and its clients as coroutines, in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.gateway.wire import basic

OPENING_AT_ONCE = 100  # more would only wait in the gateway's backlog
PATIENCE_S = 60.0

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
T = TypeVar("T")


class Crowd:
    """``port``: a provider that agrees to everything and sends back what it gets; ``wire``: its bytes, both ways."""

    def __init__(self) -> None:
        self.port = 0
        self.wire = 0
        self.tunnels = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def open(self, gateway_port: int, credentials: list[tuple[str, str]], target: str, count: int) -> list[Client]:
        """``count`` tunnels, the chips taking turns. Raises AssertionError when one is refused."""
        return self._each(count, lambda n: self._open(gateway_port, *credentials[n % len(credentials)], target))

    def reconnect(self, gateway_port: int, credentials: list[tuple[str, str]], target: str, count: int) -> None:
        """Each of ``count`` tunnels says a word, hears it and closes."""

        async def once(number: int) -> None:
            client = await self._open(gateway_port, *credentials[number % len(credentials)], target)
            await _echo(client, b"hello")
            client[1].close()

        self._each(count, once)

    def echo(self, clients: list[Client], word: bytes) -> None:
        """Every tunnel still works."""
        self._each(len(clients), lambda number: _echo(clients[number], word))

    def close(self, clients: list[Client]) -> None:
        async def close_all() -> None:
            for _, writer in clients:
                writer.close()

        self._do(close_all())

    def _each(self, count: int, job: Callable[[int], Awaitable[T]]) -> list[T]:
        async def every() -> list[T]:
            gate = asyncio.Semaphore(OPENING_AT_ONCE)

            async def one(number: int) -> T:
                async with gate, asyncio.timeout(PATIENCE_S):
                    return await job(number)

            return await asyncio.gather(*map(one, range(count)))

        return self._do(every())

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(180)

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tunnels += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.wire += len(head)
            said = b"HTTP/1.1 200 OK\r\n\r\n"
            while True:
                writer.write(said)
                self.wire += len(said)
                said = await reader.read(1 << 16)
                if not said:
                    break
                self.wire += len(said)
        writer.close()

    async def _open(self, port: int, name: str, token: str, target: str) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        login = f"Proxy-Authorization: Basic {basic(name, token)}"
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return reader, writer

    async def _end(self) -> None:
        mine = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task is not mine:
                task.cancel()
        await asyncio.sleep(0)


async def _echo(client: Client, word: bytes) -> None:
    client[1].write(word)
    assert await client[0].readexactly(len(word)) == word
