"""One client, from its accept to its tunnel or its refusal.

Who is it, may it go there, is there a lease, which way: when all of that is known already (the usual case) a connection
gets to its dial without leaving the engine's turn; only what must be asked goes through a coroutine.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import structlog

from whago.domain.rules.egress import Allowed, EgressPolicy
from whago.gateway.closing import close_client
from whago.gateway.config import HEAD_READ_BYTES
from whago.gateway.control import ChipPass, ControlUnavailable, Refused
from whago.gateway.dialing import Dial
from whago.gateway.engine import BROKEN, IN
from whago.gateway.leases import Account
from whago.gateway.lender import Lender
from whago.gateway.passes import Answer, PassBook
from whago.gateway.plane import Plane
from whago.gateway.protocol.client import ClientHandshake, client_handshake
from whago.gateway.protocol.events import Credential, Refuse, Say, Target
from whago.gateway.registry import CHIP_REFUSED, CREDENTIAL_ROTATED, ChipRegistry
from whago.gateway.resolver import Address, Resolver, UnknownHost
from whago.gateway.tunnel import Tunnel

log = structlog.get_logger()

MAX_CACHED_NAMES: Final = 16384  # parsing an id costs as much as the rest of its look-up

MAX_CACHED_TOKENS: Final = 1024  # a chip reconnects with the same one, which the parsed heads hold as well

READING, ASKING, DIALING, OVER = "reading", "asking", "dialing", "over"

_CUT_WHILE_OPENING: Final = {CREDENTIAL_ROTATED: "bad_credential", CHIP_REFUSED: "chip_blocked", "draining": "draining"}
_NOBODY: Final = bytes(32)  # what an unknown chip's token is compared with: no token has this hash


@dataclass(slots=True)
class Desk:
    """Whom a connection asks on its way in. ``spawn`` runs a coroutine and keeps it alive."""

    plane: Plane
    passes: PassBook
    lender: Lender
    resolver: Resolver
    registry: ChipRegistry
    egress: EgressPolicy
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    max_tunnels: int
    draining: bool = False


class Connection:
    """A handshake under way. It ends in ``_open`` (a tunnel takes the socket over), ``refuse`` or ``abort``."""

    __slots__ = (
        "_account", "_answer", "_desk", "_dial", "_due", "_handshake", "_heard", "_sock", "_state", "_target", "_task",
        "bucket", "chip_pass",
    )  # fmt: skip

    chip_pass: ChipPass
    _account: Account
    _answer: Answer
    _handshake: ClientHandshake
    _target: Allowed

    def __init__(self, desk: Desk, sock: socket.SocketType) -> None:
        self._desk = desk
        self._sock = sock
        self._state = READING
        self._dial: Dial | None = None
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0
        self._heard = False
        self.bucket = 0

    def start(self) -> None:
        plane = self._desk.plane
        plane.tally.handshakes += 1
        plane.engine.watch(self._sock.fileno(), self, IN)
        self._due = plane.engine.now + plane.limits.handshake_s
        plane.engine.wheel.set(self, plane.engine.now + plane.limits.first_answer_s)

    def ready(self, events: int) -> None:
        if self._state == READING:
            self._read()
        elif events & BROKEN:
            self.abort("client_reset")
        else:  # what comes behind the handshake stays in the kernel until the tunnel is open
            self._desk.plane.engine.set_mask(self._sock.fileno(), 0)

    def on_deadline(self, now: float) -> None:
        if now < self._due:
            plane = self._desk.plane
            plane.engine.wheel.set(self, min(self._due, now + plane.limits.first_answer_s))
        elif self._state == READING:
            self.refuse("handshake_timeout")
        elif not hasattr(self, "_account"):
            self.refuse("control_unavailable")
        elif self._state == ASKING or self in self._account.starved:
            self.refuse("quota_busy")
        else:
            self.dial_failed("upstream_timeout")

    def refuse(self, reason: str, status: int = 0) -> None:
        """Tell the client why not. ``reason``: a key of REFUSALS; ``status``: the upstream's own."""
        if self._state == OVER:
            return
        self._desk.plane.tally.refusals[reason] += 1
        self._log_refusal(reason, status)
        self._leave()
        if self._heard:
            self._send(self._handshake.refuse(reason, status))
            close_client(self._desk.plane.engine, self._sock)
        else:  # it has not said a byte, so nobody knows in which protocol to answer
            self._desk.plane.engine.close(self._sock)

    def abort(self, reason: str) -> None:
        """Close without a word: nobody is there to read one."""
        if self._state != OVER:
            self._desk.plane.tally.refusals[reason] += 1
            self._leave()
            self._desk.plane.engine.close(self._sock)

    # Called by the lease book and the registry.

    def lease_ready(self) -> None:
        if self._dial is not None:
            self._dial.resume()

    def lease_refused(self, reason: str) -> None:
        self.refuse(reason)

    def cut(self, reason: str) -> None:
        """Something changed while the tunnel was being opened: the client tries again and meets the new truth."""
        self.refuse(_CUT_WHILE_OPENING.get(reason, "control_unavailable"))

    def reprice(self, chip_pass: ChipPass) -> None:
        """The few bytes of the exchange keep the price under which it began; the tunnel starts with the new one."""
        self.chip_pass = chip_pass

    # Called by the dial.

    def dial_failed(self, reason: str, status: int = 0) -> None:
        self._desk.plane.tally.dials.failed(self.chip_pass, reason, status)
        self.refuse(reason, status)

    def dial_done(self, rest: bytes) -> None:
        assert self._dial is not None
        plane = self._desk.plane
        plane.tally.dials.established(self.chip_pass, plane.engine.now - self._dial.began)
        self._open(rest)

    # The steps, in their order.

    def _read(self) -> None:
        try:
            chunk = self._sock.recv(HEAD_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self.abort("client_gone")
            return
        if self._heard:
            self._handshake.receive(chunk)
        else:
            self._handshake = client_handshake(chunk)
            self._heard = True
        self._advance()

    def _advance(self) -> None:
        while self._state == READING and (event := self._handshake.next_event()) is not None:
            match event:
                case Credential():
                    self._authenticate(event)
                case Target():
                    self._admit(event)
                case Say(payload):
                    self._send(payload)
                case Refuse(reason):
                    self.refuse(reason)

    def _send(self, payload: bytes) -> int:
        """A handshake's few bytes fit into the socket's empty buffer; a client that is gone shows at the next read."""
        try:
            return self._sock.send(payload)
        except OSError:
            return 0

    def _authenticate(self, credential: Credential) -> None:
        chip_id = _chip_id(credential.username)
        if chip_id is None:
            self.refuse("bad_credential")
            return
        token_hash = _token_hash(credential.password)
        answer = self._desk.passes.peek(chip_id)
        if answer is not None:
            self._verify(answer, token_hash)
        else:
            self._state = ASKING
            self._task = self._desk.spawn(self._ask_pass(chip_id, token_hash))

    async def _ask_pass(self, chip_id: UUID, token_hash: bytes) -> None:
        try:
            answer = await self._desk.passes.get(chip_id)
        except ControlUnavailable:
            self._task = None
            self.refuse("control_unavailable")
            return
        self._task = None
        self._state = READING
        self._verify(answer, token_hash)
        self._advance()
        if self._state == READING:  # SOCKS5: the request is still to come
            self._desk.plane.engine.set_mask(self._sock.fileno(), IN)

    def _verify(self, answer: Answer, token_hash: bytes) -> None:
        known = answer.credential_hash
        if not hmac.compare_digest(known or _NOBODY, token_hash) or known is None:
            self.refuse("bad_credential")
            return
        self._answer = answer
        self._handshake.authenticated()

    def _admit(self, target: Target) -> None:
        desk, answer = self._desk, self._answer
        if isinstance(answer, Refused):
            self.refuse(answer.reason)
            return
        judged = desk.egress.judge(target.host, target.port)
        if not isinstance(judged, Allowed):
            self.refuse(judged)
            return
        problem = self._crowding(answer)
        if problem:
            self.refuse(problem)
            return
        self._target = judged
        self.chip_pass = answer
        desk.registry.join(self)
        self._prepare()

    def _crowding(self, chip_pass: ChipPass) -> str:
        desk = self._desk
        if desk.draining:
            return "draining"
        full = desk.plane.tally.open_tunnels >= desk.max_tunnels
        crowded = desk.registry.count(chip_pass.chip_id) >= desk.plane.limits.tunnels_per_chip
        return "too_many_tunnels" if full or crowded else ""

    def _prepare(self) -> None:
        """A lease and the upstream's addresses: known already, or asked for."""
        desk, plane = self._desk, self._desk.plane
        self._due = plane.engine.now + plane.limits.dial_s
        self._account = plane.book.account(self.chip_pass.user_id, plane.calendar.month)
        plane.book.enter(self._account, self)
        verdict = plane.book.verdict(self._account, plane.engine.now)
        addresses = desk.resolver.peek(self.chip_pass.upstream.host, self.chip_pass.upstream.port)
        if verdict:
            self.refuse(verdict)
        elif verdict is None or addresses is None:
            self._state = ASKING
            self._task = desk.spawn(self._ask_way())
        else:
            self._start_dial(addresses)

    async def _ask_way(self) -> None:
        problem = await self._desk.lender.admission(self._account)
        if not problem:
            try:
                upstream = self.chip_pass.upstream
                addresses = await self._desk.resolver.get(upstream.host, upstream.port)
            except UnknownHost:
                problem = "upstream_unreachable"
        self._task = None
        if self._state == OVER:
            return
        if (
            problem == "upstream_unreachable"
        ):  # its name is not known: that speaks against the proxy as a failed dial does
            self.dial_failed(problem)
        elif problem:
            self.refuse(problem)
        else:
            self._start_dial(addresses)

    def _start_dial(self, addresses: tuple[Address, ...]) -> None:
        self._state = DIALING
        self._dial = Dial(self._desk.plane, self, self.chip_pass, self._account, addresses)
        self._dial.start(self._target)

    def _open(self, rest: bytes) -> None:
        """The upstream agreed: the tunnel takes over."""
        desk, dial, chip_pass = self._desk, self._dial, self.chip_pass
        assert dial is not None
        upstream, segment = dial.hand_over()
        self._dial = None
        tunnel = Tunnel(
            desk.plane,
            desk.registry,
            chip_pass,
            self._account,
            segment,
            dial.tunnel_id,
            self._target,
            self._sock,
            upstream,
        )
        self._give_place_to(tunnel)
        if chip_pass is not dial.chip_pass:
            tunnel.reprice(chip_pass)
        to_client = self._handshake.accept() + rest
        tunnel.start(to_client[self._send(to_client) :], self._handshake.rest())

    def _give_place_to(self, tunnel: Tunnel) -> None:
        """In every book the tunnel stands where this connection stood."""
        desk, plane = self._desk, self._desk.plane
        self._state = OVER
        plane.tally.handshakes -= 1
        plane.engine.wheel.clear(self)
        desk.registry.take_over(self, tunnel)
        plane.book.take_over(self._account, self, tunnel)

    def _leave(self) -> None:
        """Take this connection out of every book. The client's socket stays open."""
        plane = self._desk.plane
        self._state = OVER
        plane.tally.handshakes -= 1
        plane.engine.wheel.clear(self)
        if self._dial is not None:
            self._dial.close()
            self._dial = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if hasattr(self, "_account"):
            plane.book.leave(self._account, self, plane.engine.now)
        if hasattr(self, "chip_pass"):
            self._desk.registry.leave(self)

    def _log_refusal(self, reason: str, status: int) -> None:
        """Of a known chip only: strangers are counted, not logged, or they could fill the disk."""
        if hasattr(self, "chip_pass"):
            chip, host = str(self.chip_pass.chip_id), self._target.host
            log.info("connection.refused", chip=chip, host=host, reason=reason, upstream_status=status or None)


@lru_cache(MAX_CACHED_TOKENS)
def _token_hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


@lru_cache(MAX_CACHED_NAMES)
def _chip_id(username: str) -> UUID | None:
    """The chip's id, with or without dashes."""
    if len(username) not in (32, 36):
        return None
    try:
        return UUID(username)
    except ValueError:
        return None
