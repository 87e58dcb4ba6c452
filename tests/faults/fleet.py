"""Hundreds of chips as plain clients: each keeps a tunnel through the gateway, asks who it is, comes back when cut."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self
from uuid import UUID

HOST = "media.whatsapp.net"
COME_BACK_S = 1.0
ASK_EVERY_S = 3.0
ANSWER_S = 30.0


class Fleet:
    """A context manager. ``seen``: the exit address under which the origin saw each chip that is connected."""

    def __init__(self, port: int, chips: Sequence[tuple[UUID, str]]) -> None:
        self.seen: dict[UUID, str] = {}
        self._port = port
        self._chips = chips
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        tasks = [self._loop.create_task(self._live(*chip)) for chip in self._chips]
        self._loop.run_forever()
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _live(self, chip_id: UUID, token: str) -> None:
        while True:
            with suppress(OSError, EOFError, TimeoutError):
                await self._connected(chip_id, token)
            self.seen.pop(chip_id, None)
            await asyncio.sleep(COME_BACK_S * random.uniform(0.5, 1.5))

    async def _connected(self, chip_id: UUID, token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            login = base64.b64encode(f"{chip_id}:{token}".encode()).decode()
            writer.write(f"CONNECT {HOST}:443 HTTP/1.1\r\nProxy-Authorization: Basic {login}\r\n\r\n".encode())
            async with asyncio.timeout(ANSWER_S):
                head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head:
                return
            while True:
                writer.write(f"GET /echo HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
                async with asyncio.timeout(ANSWER_S):
                    self.seen[chip_id] = json.loads(await _body(reader))["ip"]
                await asyncio.sleep(ASK_EVERY_S)
        finally:
            writer.close()


async def _body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    return await reader.readexactly(int(length.partition(":")[2]))
