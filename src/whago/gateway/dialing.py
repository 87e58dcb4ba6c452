"""Opening a tunnel through the provider's proxy: connect, then its CONNECT or SOCKS5 exchange, metered as overhead."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, Protocol

import structlog

from whago.domain.rules.egress import Allowed
from whago.gateway.config import HEAD_READ_BYTES
from whago.gateway.control import ChipPass
from whago.gateway.counters import DOWN, OVERHEAD, CounterFileFull
from whago.gateway.engine import BROKEN, IN, OUT
from whago.gateway.leases import Account, Spender
from whago.gateway.plane import Plane
from whago.gateway.protocol.events import Established, Refuse, Say
from whago.gateway.resolver import Address
from whago.gateway.segments import Segment
from whago.gateway.sockets import acknowledge_with_data, send_at_once
from whago.providers.handshake.upstream import UpstreamHandshake, upstream_handshake

log = structlog.get_logger()

_UNREACHABLE: Final = "upstream_unreachable"
_TIMED_OUT: Final = (errno.ETIMEDOUT,)
_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Dialer(Spender, Protocol):
    """Who waits for the upstream."""

    def dial_failed(self, reason: str, status: int = 0) -> None: ...

    def dial_done(self, rest: bytes) -> None:
        """The tunnel is open. ``rest`` came behind the upstream's answer and is counted as tunnel bytes."""
        ...


class Dial:
    """Tries the addresses one after the other, then makes the exchange. ``segment`` is there once a byte was sent."""

    __slots__ = (
        "_account", "_addresses", "_attempt_s", "_connected", "_handshake", "_outbox", "_owner", "_plane",
        "_reason", "began", "bucket", "chip_pass", "segment", "sock", "tunnel_id",
    )  # fmt: skip

    sock: socket.SocketType

    def __init__(
        self,
        plane: Plane,
        owner: Dialer,
        chip_pass: ChipPass,
        account: Account,
        addresses: tuple[Address, ...],
    ) -> None:
        self._plane = plane
        self._owner = owner
        self.chip_pass = chip_pass
        self._account = account
        self._addresses = list(reversed(addresses))
        self._handshake: UpstreamHandshake
        self._outbox = b""
        self._connected = False
        self._reason = _UNREACHABLE
        self.began = plane.engine.now
        self.bucket = 0
        self.segment: Segment | None = None
        self.tunnel_id = 0

    def start(self, target: Allowed) -> None:
        upstream = self.chip_pass.upstream
        try:
            self._handshake = upstream_handshake(
                upstream.protocol, target.host, target.port, upstream.username, upstream.password
            )
        except ValueError as error:
            log.error("upstream.bad_credential", proxy=str(self.chip_pass.proxy_id), problem=str(error))
            self._owner.dial_failed("upstream_auth_failed")
            return
        self._try_next()

    def ready(self, events: int) -> None:
        if self._connected:
            self._read()
        elif events & BROKEN and (failure := self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
            self._attempt_failed(failure)
        else:
            self._exchange()

    def abort(self, reason: str) -> None:
        log.error("dial.aborted", reason=reason)
        self._owner.dial_failed("upstream_protocol")

    def on_deadline(self, now: float) -> None:  # noqa: ARG002
        """This address takes too long."""
        self._attempt_failed(errno.ETIMEDOUT)

    def resume(self) -> None:
        """There is a lease again."""
        if self._outbox:
            self._send()
        elif self._connected:
            self._plane.engine.set_mask(self.sock.fileno(), IN)

    def close(self) -> None:
        """Give up; what was moved so far is reported."""
        self._addresses.clear()
        self._close_socket()
        if self.segment is not None:
            self.segment.finish()

    def hand_over(self) -> tuple[socket.SocketType, Segment]:
        """The open socket and its counters, which are the tunnel's from now on."""
        segment, self.segment = self.segment, None
        assert segment is not None
        self._plane.engine.wheel.clear(self)
        return self.sock, segment

    def _try_next(self) -> None:
        if not self._addresses:
            self._owner.dial_failed(self._reason)
            return
        address = self._addresses.pop()
        try:
            self.sock = socket.SocketType(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self._owner.dial_failed("too_many_tunnels" if error.errno in _OUT_OF_DESCRIPTORS else _UNREACHABLE)
            return
        send_at_once(self.sock)
        acknowledge_with_data(self.sock)
        failure = self.sock.connect_ex(address.sockaddr)
        if failure not in (0, errno.EINPROGRESS):
            self._attempt_failed(failure)
            return
        self._plane.engine.watch(self.sock.fileno(), self, OUT)
        if self._addresses:
            self._plane.engine.wheel.set(self, self._plane.engine.now + self._plane.limits.attempt_s)

    def _attempt_failed(self, failure: int) -> None:
        self._reason = "upstream_timeout" if failure in _TIMED_OUT else _UNREACHABLE
        proxy = str(self.chip_pass.proxy_id)
        log.info("upstream.unreachable", proxy=proxy, problem=os.strerror(failure))
        self._close_socket()
        self._try_next()

    def _close_socket(self) -> None:
        self._plane.engine.wheel.clear(self)
        sock = getattr(self, "sock", None)
        if sock is not None:
            self._plane.engine.close(sock)

    def _exchange(self) -> None:
        """Connected: from here on bytes are billed."""
        self._connected = True
        self._addresses.clear()
        self._plane.engine.wheel.clear(self)
        self.tunnel_id = self._plane.segments.new_tunnel_id()
        try:
            self.segment = self._plane.segments.open(self.tunnel_id, self.chip_pass)
        except CounterFileFull as error:
            log.error("counters.full", reason=str(error))
            self._owner.dial_failed("too_many_tunnels")
            return
        self._outbox = self._handshake.start()
        self._send()

    def _send(self) -> None:
        """The whole message at once: it fits into an empty socket buffer."""
        payload = self._outbox
        assert self.segment is not None
        if self._account.left < len(payload):
            self._starve()
            return
        self._outbox = b""
        self._plane.charge(self._account, self.segment, OVERHEAD, len(payload))
        sent = _send_all(self.sock, payload)
        if sent < len(payload):
            self._plane.uncharge(self._account, self.segment, OVERHEAD, len(payload) - sent)
            self._owner.dial_failed(_UNREACHABLE)
            return
        self._plane.engine.set_mask(self.sock.fileno(), IN)

    def _read(self) -> None:
        room = self._account.left
        if room <= 0:
            self._starve()
            return
        try:
            chunk = self.sock.recv(min(room, HEAD_READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            self._owner.dial_failed(_UNREACHABLE)
            return
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        """Count what came, then act on it. The end of input is an answer too: no."""
        self._handshake.receive(chunk)
        event = self._handshake.next_event() if chunk else Refuse("upstream_refused")
        rest = event.rest if isinstance(event, Established) else b""
        assert self.segment is not None
        if overhead := len(chunk) - len(rest):
            self._plane.charge(self._account, self.segment, OVERHEAD, overhead)
        if rest:
            self._plane.charge(self._account, self.segment, DOWN, len(rest))
        match event:
            case Say(payload):
                self._outbox = payload
                self._send()
            case Established():
                self._owner.dial_done(rest)
            case Refuse(reason, status):
                self._owner.dial_failed(reason, status)

    def _starve(self) -> None:
        self._plane.engine.set_mask(self.sock.fileno(), 0)
        self._plane.book.starve(self._account, self._owner)


def _send_all(sock: socket.SocketType, payload: bytes) -> int:
    try:
        return sock.send(payload)
    except OSError:
        return 0
