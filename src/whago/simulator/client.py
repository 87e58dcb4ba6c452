"""One client of the proxy port, from accept to close."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

import structlog

from whago.simulator.dialogue import ClientReader, Dialogue, HttpDialogue, SocksDialogue
from whago.simulator.metering import Meter
from whago.simulator.outside import dial_outside
from whago.simulator.relay import Tunnel
from whago.simulator.sockets import dial, receive, reset, send_all
from whago.simulator.state import NOT_ALLOW_LISTED_CODE, ProviderState
from whago.simulator.stickies import Sticky
from whago.simulator.switches import Switches
from whago.simulator.targets import Inside, Outside, TargetMap, TargetRefused
from whago.simulator.wire import SOCKS_VERSION, Refusal

log = structlog.get_logger()

HANDSHAKE_S: Final = 30.0  # a client that needs longer for a few hundred bytes is not going to finish
STALL_S: Final = 600.0  # how long a stalled CONNECT is kept; clients give up long before
LINGER_S: Final = 1.0  # after a refusal: time for the client to read it before the socket goes
LINGER_BYTES: Final = 65_536
ONE_BYTE_PAUSE_S: Final = 0.001  # between single-byte replies, so that the client really sees them one by one
GARBAGE: Final = b"\x00\xff\xfe<<no protocol at all>>\r\r\n\n\x00" * 4


class Client:
    """Reads the request, asks the state, dials from the session's exit IP, and runs the tunnel."""

    def __init__(
        self, sock: socket.socket, local_ip: str, peer_ip: str, state: ProviderState, targets: TargetMap,
        scratch: memoryview,
    ) -> None:  # fmt: skip
        self._sock = sock
        self._local_ip = local_ip
        self._peer_ip = peer_ip
        self._state = state
        self._targets = targets
        self._scratch = scratch
        self._meter = Meter(state)
        self._reader = ClientReader(sock, self._meter)
        self._switches = Switches()
        self._late_refusal: Refusal | None = None
        self._reset_at_end = False
        self.sticky: Sticky | None = None
        self.tunnel: Tunnel | None = None

    async def serve(self) -> None:
        """Until the client is gone. Never raises but for cancellation."""
        try:
            await self._converse()
        except (EOFError, OSError):  # the client went away in the middle of its handshake, or of reading our refusal
            self._state.outcomes["gone"] += 1
        finally:
            self._meter.settle()
            if self.sticky is not None:
                self._state.stickies.dismiss_rotating(self.sticky)
            if self._reset_at_end:
                reset(self._sock)
            self._sock.close()

    def reset_when_cancelled(self) -> None:
        """Make the end of this connection an RST; the caller cancels the task."""
        self._reset_at_end = True

    async def _converse(self) -> None:
        dialogue = await self._dialogue()
        try:
            host, port = await self._asked(dialogue)
            if self._switches.garbage:
                await self._garble()
                return
            if self._switches.stall:
                await self._stall()
                return
            exit_side, exit_ip = await self._open_exit(host, port)
        except Refusal as refusal:
            await self._refuse(dialogue.refused(refusal), refusal)
            return
        await self._carry(dialogue, exit_side, exit_ip)

    async def _dialogue(self) -> Dialogue:
        async with asyncio.timeout(HANDSHAKE_S):
            first = await self._reader.peek()
        if first == SOCKS_VERSION:
            return SocksDialogue(self._reader, self._admit, self._answer)
        return HttpDialogue(self._reader, self._admit)

    async def _asked(self, dialogue: Dialogue) -> tuple[str, int]:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                target = await dialogue.target()
        except TimeoutError:
            raise Refusal(408, "the request did not arrive in time") from None
        if self._late_refusal:
            raise self._late_refusal
        return target

    def _admit(self, username: str, password: str) -> None:
        """Called by the dialogue. What is not about the credential is refused after the request, as SOCKS5 wants it."""
        try:
            self.sticky = self._state.admit(username, password, self._local_ip)
        except Refusal as unfit:
            if unfit.status == 407:
                raise
            self._late_refusal = unfit
            return
        self._meter.attach(self.sticky)
        self._switches = self._state.switches_for(self.sticky)
        refusal = _switched_refusal(self._switches, self._peer_ip, self.sticky.country)
        if refusal and refusal.status == 407:
            raise refusal
        self._late_refusal = refusal

    async def _open_exit(self, host: str, port: int) -> tuple[socket.socket, str]:
        assert self.sticky is not None  # admitted, or it would have been refused
        if self._switches.latency_ms:
            await asyncio.sleep(self._switches.latency_ms / 1000)
        try:
            target = self._targets.resolve(host, port)
            exit_ip = self._state.stickies.open_tunnel(self.sticky)
            try:
                return await _dial(target, exit_ip), exit_ip
            except BaseException:
                self._state.stickies.close_tunnel(self.sticky, exit_ip)
                raise
        except TargetRefused as refused:
            raise _unreached(refused, host) from refused

    async def _carry(self, dialogue: Dialogue, exit_side: socket.socket, exit_ip: str) -> None:
        assert self.sticky is not None
        try:
            await self._answer(dialogue.granted((exit_ip, exit_side.getsockname()[1])))
            self._state.outcomes["granted"] += 1
            self.tunnel = Tunnel(self._state, self.sticky, self._sock, exit_side, self._meter, self._scratch)
            await self.tunnel.run(self._reader.rest())
        finally:
            exit_side.close()
            self._state.stickies.close_tunnel(self.sticky, exit_ip)

    async def _answer(self, reply: bytes) -> None:
        if not self._switches.one_byte_replies:
            await send_all(self._sock, reply, self._meter.handshake_down)
            return
        for position in range(len(reply)):
            await send_all(self._sock, reply[position : position + 1], self._meter.handshake_down)
            await asyncio.sleep(ONE_BYTE_PAUSE_S)

    async def _refuse(self, reply: bytes, refusal: Refusal) -> None:
        self._state.outcomes[str(refusal.status)] += 1
        name = self.sticky.name if self.sticky else None
        log.debug("simulator.refused", sticky=name, status=refusal.status, reason=refusal.text)
        await self._answer(reply)
        await self._linger()

    async def _linger(self) -> None:
        """Closing with unread input would send RST, which can overtake the reply: read what the client still sends."""
        self._sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                await self._swallow(LINGER_BYTES)

    async def _garble(self) -> None:
        self._state.outcomes["garbage"] += 1
        await send_all(self._sock, GARBAGE, self._meter.handshake_down)
        await self._linger()

    async def _stall(self) -> None:
        self._state.outcomes["stalled"] += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STALL_S):
                await self._swallow(LINGER_BYTES)

    async def _swallow(self, limit: int) -> None:
        while limit > 0 and (chunk := await receive(self._sock, limit)):
            self._meter.up(len(chunk))
            limit -= len(chunk)


async def _dial(target: Inside | Outside, exit_ip: str) -> socket.socket:
    """Raises TargetRefused."""
    if isinstance(target, Outside):
        return await dial_outside(target.host, target.port)
    try:
        return await dial((target.host, target.port), exit_ip)
    except TimeoutError:
        raise TargetRefused(504, "the target did not answer", "connection_timeout") from None
    except OSError:
        raise TargetRefused(502, "the target refused the connection", "connection_refused") from None


def _unreached(refused: TargetRefused, host: str) -> Refusal:
    if refused.error is None:
        return Refusal(refused.status, refused.reason)
    return Refusal.of_target(refused.status, refused.reason, refused.error, host)


def _switched_refusal(switches: Switches, peer_ip: str, country: str) -> Refusal | None:
    if switches.allow_list_denied:
        return Refusal(403, f"Your IP {peer_ip} is not in the whitelist", code=NOT_ALLOW_LISTED_CODE)
    if switches.balance_empty:
        return Refusal(407, "insufficient traffic balance")
    if switches.no_exit_in_country:
        return Refusal(525, f"no exit available in {country}")
    if switches.refuse_connect:
        return Refusal(switches.refuse_connect, _REFUSE_TEXTS.get(switches.refuse_connect, "refused"))
    return None


_REFUSE_TEXTS: Final = {
    402: "payment required",
    407: "wrong username or password",
    502: "the exit is gone",
    503: "no exit is free",
    504: "the exit did not answer",
    522: "the exit timed out",
    525: "no exit was found",
}
