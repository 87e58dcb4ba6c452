"""One running tunnel: bytes both ways, counted at the client's socket, under the failure switches."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from whago.simulator.metering import Meter
from whago.simulator.sockets import readable, reset, send_all
from whago.simulator.state import ProviderState
from whago.simulator.stickies import Sticky
from whago.simulator.switches import Switches

CHUNK_BYTES: Final = 262_144  # what one turn may move: enough for bursts, short enough to be fair to the others
PACE_SLICES: Final = 10  # a limited tunnel moves a tenth of its second at a time
FREEZE_POLL_S: Final = 0.05

Count = Callable[[int], None]


class TunnelReset(Exception):
    """A switch ends the tunnel with RST."""


class Tunnel:
    """Moves bytes between a client and its exit until both directions have ended or a switch ends them.

    ``scratch`` may be shared by all tunnels of a loop: it is only used between two awaits.
    """

    def __init__(
        self,
        state: ProviderState,
        sticky: Sticky,
        client: socket.socket,
        exit_side: socket.socket,
        meter: Meter,
        scratch: memoryview,
    ) -> None:
        self._state = state
        self._sticky = sticky
        self._client = client
        self._exit = exit_side
        self._meter = meter
        self._scratch = scratch
        self._switches = state.switches_for(sticky)
        self._version = state.board.version
        self._moved = 0  # tunnel bytes taken from either side, without the handshake
        self.last_moved_at = asyncio.get_running_loop().time()

    def switches(self) -> Switches:
        """What holds for this tunnel now."""
        if self._version != self._state.board.version:
            self._switches = self._state.switches_for(self._sticky)
            self._version = self._state.board.version
        return self._switches

    async def run(self, early: bytes) -> None:
        """Move until the end. ``early`` came behind the handshake and is already counted as received."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(self._client, self._exit, self._meter.up, _uncounted, early))
                both.create_task(self._pump(self._exit, self._client, _uncounted, self._meter.down))
        except* (TunnelReset, OSError):  # a side that broke is told to the other the hard way
            reset(self._client)
            reset(self._exit)

    async def _pump(
        self, source: socket.socket, sink: socket.socket, received: Count, sent: Count, early: bytes = b""
    ) -> None:
        while True:
            self._room()  # a tunnel that is to be reset is reset at once, not at its next byte
            if not early:
                await readable(source)
            await self._thaw()
            room = self._room()
            if early:
                chunk, early = memoryview(early[:room]), early[room:]
            elif (read := self._read(source, room, received)) is not None:
                chunk = read
            else:
                continue
            if not chunk:
                sink.shutdown(socket.SHUT_WR)
                return
            await self._deliver(chunk, sink, sent)

    def _read(self, source: socket.socket, room: int, received: Count) -> memoryview | None:
        try:
            count = source.recv_into(self._scratch, room)
        except (BlockingIOError, InterruptedError):
            return None
        received(count)
        return self._scratch[:count]

    async def _deliver(self, chunk: memoryview, sink: socket.socket, sent: Count) -> None:
        self._moved += len(chunk)
        self.last_moved_at = asyncio.get_running_loop().time()
        delay_s = self._delay_s(len(chunk), to_client=sink is self._client)
        if delay_s:
            chunk = memoryview(bytes(chunk))
            await asyncio.sleep(delay_s)
        await send_all(sink, chunk, sent)

    def _delay_s(self, count: int, *, to_client: bool) -> float:
        switches = self.switches()
        pace = count / switches.throughput_bytes_per_s if switches.throughput_bytes_per_s else 0.0
        return pace + (switches.latency_ms or 0) / 1000 * to_client

    async def _thaw(self) -> None:
        while self.switches().freeze:  # noqa: ASYNC110 - a switch is set for tests, at most for seconds
            await asyncio.sleep(FREEZE_POLL_S)

    def _room(self) -> int:
        """How much the next chunk may hold, at least 1. Raises TunnelReset when the tunnel has moved all it may."""
        switches = self.switches()
        room = CHUNK_BYTES
        if switches.throughput_bytes_per_s is not None:
            room = min(room, max(1, switches.throughput_bytes_per_s // PACE_SLICES))
        if switches.reset_after_bytes is not None:
            room = min(room, switches.reset_after_bytes - self._moved)
        if room <= 0:
            raise TunnelReset
        return room


def _uncounted(_count: int) -> None:
    """The exit's side of the tunnel is not what the vendor bills."""
