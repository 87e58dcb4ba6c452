"""``whago demo-traffic``: every demo chip keeps a chat tunnel open through the gateway and sometimes fetches a picture.

The tunnels are ordinary ones: CONNECT with the chip's own credential, to hosts that a chip may reach. The simulated
provider leads them to its own origin. A refusal is logged and tried again later, less and less often.
"""

from __future__ import annotations

import asyncio
import base64
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog

from whago.kit import log as logging
from whago.main.data_folder import default_data_dir
from whago.main.demo_file import DemoFile, KeptChip
from whago.settings import Settings, load

CHAT: Final = ("g.whatsapp.net", 5222)  # the origin there sends every byte back, as a chat answers a ping
MEDIA: Final = ("media.whatsapp.net", 443)
PING_BYTES: Final = (61, 300)
PING_EVERY_S: Final = (1.0, 2.5)
CONNECT_S: Final = 20.0  # the gateway answers refusals of its upstream within this
ANSWER_S: Final = 30.0  # of a ping; a provider that is told to freeze shows as a reconnect
FIRST_WAIT_S: Final = 2.0
LAST_WAIT_S: Final = 60.0
HEAD_BYTES_MAX: Final = 16_384
READ_BYTES: Final = 65_536

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a chip fetches a picture, in seconds, and how large it is, in bytes."""

    picture_every_s: tuple[float, float]
    picture_bytes: tuple[int, int]


PACES: Final = {
    "calm": Pace((240.0, 600.0), (20_000, 80_000)),  # below 25 MB a day and chip: days from 85 % to the limit
    "brisk": Pace((45.0, 180.0), (20_000, 200_000)),
}


class Refused(Exception):
    """The gateway said no: ``status`` and the word of ``X-Gateway-Reason``."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status} {reason}")
        self.status = status
        self.reason = reason


def run() -> None:
    """Until SIGTERM or SIGINT. Without a demo in the data folder it only waits."""
    settings = load()
    logging.configure(settings.log_format, "demo-traffic")
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    host, port = gateway_address(settings)
    customers = DemoFile(settings.data_dir or default_data_dir(demo=True)).customers.values()
    talkers = [Talker(chip, PACES.get(one.pace, PACES["calm"]), host, port) for one in customers for chip in one.chips]
    tasks = [asyncio.create_task(talker.talk()) for talker in talkers]
    log.info("demo.talking", chips=len(tasks))
    await stopping.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def gateway_address(settings: Settings) -> tuple[str, int]:
    """Where the settings say that chips find the gateway."""
    address = urlsplit(f"//{settings.gateway_public_host or '127.0.0.1'}")
    return address.hostname or "127.0.0.1", address.port or settings.gateway_port


class Talker:
    """One chip's engine, as far as bytes are concerned."""

    def __init__(self, chip: KeptChip, pace: Pace, host: str, port: int) -> None:
        self._alias = chip.alias
        self._pace = pace
        self._gateway = (host, port)
        self._login = base64.b64encode(f"{chip.id}:{chip.token}".encode()).decode()
        self._dice = random.Random(chip.id)  # noqa: S311 - when to talk is no secret

    async def talk(self) -> None:
        """Chat and pictures beside one another, until a credential is refused or the task is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._again_and_again(self._chat))
            group.create_task(self._again_and_again(self._pictures))

    async def _again_and_again(self, work: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """``work`` is given what to call when it got through, which shortens the next wait again."""
        wait_s = FIRST_WAIT_S

        def through() -> None:
            nonlocal wait_s
            wait_s = FIRST_WAIT_S

        await asyncio.sleep(self._dice.uniform(0, FIRST_WAIT_S))
        while True:
            try:
                await work(through)
            except Refused as refused:
                log.info("demo.refused", chip=self._alias, status=refused.status, reason=refused.reason)
                if refused.status == 407:  # its owner made a new credential or deleted it: it is not ours any more
                    return
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:  # restarts, cuts, garbage
                log.info("demo.interrupted", chip=self._alias, reason=type(error).__name__)
            await asyncio.sleep(wait_s * self._dice.uniform(0.8, 1.2))
            wait_s = min(wait_s * 2, LAST_WAIT_S)

    async def _chat(self, through: Callable[[], None]) -> None:
        reader, writer = await self._connect(*CHAT)
        try:
            while True:
                ping = self._dice.randbytes(self._dice.randint(*PING_BYTES))
                writer.write(ping)
                await writer.drain()
                async with asyncio.timeout(ANSWER_S):
                    await reader.readexactly(len(ping))
                through()
                await asyncio.sleep(self._dice.uniform(*PING_EVERY_S))
        finally:
            writer.close()

    async def _pictures(self, through: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(*self._pace.picture_every_s))
            await self._fetch(self._dice.randint(*self._pace.picture_bytes))
            through()

    async def _fetch(self, count: int) -> None:
        reader, writer = await self._connect(*MEDIA)
        try:
            writer.write(f"GET /bytes/{count} HTTP/1.1\r\nHost: {MEDIA[0]}\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
            async with asyncio.timeout(ANSWER_S):
                while await reader.read(READ_BYTES):
                    pass
        finally:
            writer.close()

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A tunnel. Raises Refused, OSError, EOFError, ValueError, LimitOverrunError."""
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(*self._gateway, limit=HEAD_BYTES_MAX)
            try:
                writer.write(
                    f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n"
                    f"Proxy-Authorization: Basic {self._login}\r\n\r\n".encode()
                )
                await writer.drain()
                _check(await reader.readuntil(b"\r\n\r\n"))
            except BaseException:
                writer.close()
                raise
        return reader, writer


def _check(head: bytes) -> None:
    status_line, *lines = head.decode("latin-1").split("\r\n")
    status = int(status_line.partition(" ")[2][:3])
    if status != 200:
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        raise Refused(status, headers.get("x-gateway-reason", "unknown"))
