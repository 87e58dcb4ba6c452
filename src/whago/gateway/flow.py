"""One direction of a tunnel: read at most what the lease holds, count, write; small talk plainly, bulk by splice.

Charging, in both directions, happens in the same turn as the byte moves on the raw upstream socket, and before it is
forwarded: *down* when it was received from the upstream, *up* just before it is sent there (what the kernel did not
take is uncounted in the same turn). So at the end of a turn, lease and counters agree with the wire to the byte.

A flow is also the handler of its source socket. At most one buffer or one pipe is in flight per direction: while the
target is full, the source is not read.
"""

from __future__ import annotations

import errno
import os
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from whago.gateway.config import READ_BYTES, TURN_BYTES
from whago.gateway.counters import DOWN, UP
from whago.gateway.engine import BROKEN, IN, OUT
from whago.gateway.pipes import SPLICE_FLAGS, Pipe

if TYPE_CHECKING:
    from whago.gateway.tunnel import Tunnel

_INPUT: Final = IN | BROKEN
_ROOM: Final = OUT | BROKEN

SMALL_BYTES: Final = 16 * 1024  # below it two system calls and a pipe cost more than a copy
SMALL_READS: Final = 4  # this many in a row, and the bulk transfer is over


class Flow:
    """``reading``: waits for input; ``blocked``: waits for room at the target; ``done``: the end was passed on."""

    __slots__ = (
        "blocked", "bulk", "cell", "done", "ended", "other", "pending", "pipe", "reading", "small_reads", "source",
        "target", "tunnel", "way",
    )  # fmt: skip

    other: Flow

    def __init__(self, tunnel: Tunnel, source: socket.SocketType, target: socket.SocketType, way: Way) -> None:
        self.tunnel = tunnel
        self.source = source
        self.target = target
        self.way = way
        self.cell = way.cell
        self.pending = b""
        self.pipe: Pipe | None = None
        self.bulk = False
        self.small_reads = 0
        self.reading = True
        self.blocked = False
        self.ended = False
        self.done = False

    def begin_with(self, pending: bytes) -> None:
        """Send this before anything is read."""
        self.pending = pending
        self.reading = False
        self.blocked = True

    def ready(self, events: int) -> None:
        """The source socket has news: room for the other direction, or input for this one."""
        if events & _ROOM and self.other.blocked:
            self.other.flush()
        if events & _INPUT and self.reading:
            self._pump()

    def abort(self, reason: str) -> None:
        self.tunnel.end(reason)

    def flush(self) -> None:
        """Send on what is in flight; then read again."""
        sent_all = self.way.drain(self, self.pipe) if self.pipe is not None else self.way.flush_pending(self)
        if sent_all:
            self.blocked = False
            if self.ended:
                self._pass_end()
            else:
                self.reading = True
            self.tunnel.rearm()

    def stop_reading(self) -> None:
        self.ended = True
        self.reading = False

    def resume(self) -> None:
        """There is a lease again."""
        in_flight = bool(self.pending) or self.pipe is not None
        self.blocked = in_flight
        self.reading = not in_flight and not self.ended

    def drop(self) -> None:
        """Forget what is in flight."""
        self.reading = self.blocked = False
        self.pending = b""
        if self.pipe is not None:
            self.tunnel.plane.pipes.give_back(self.pipe)
            self.pipe = None

    def _pump(self) -> None:
        """Move what is there, once: at most one buffer, or one pipe. Every small message comes this way: few calls."""
        tunnel = self.tunnel
        plane = tunnel.plane
        if tunnel.segment.epoch != plane.calendar.epoch and not tunnel.next_segment():
            return
        account = tunnel.account
        room = account.left
        if (room <= 0 or self.bulk) and self._pump_otherwise(room):
            return
        buffer = plane.buffer
        try:
            count = self.source.recv_into(buffer, room if room < READ_BYTES else READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.tunnel.end(self.way.source_reset)
            return
        if not count:
            self._end_of_input()
            return
        plane.charge(account, tunnel.segment, self.cell, count)
        tunnel.moved_at = plane.engine.now
        try:
            sent = self.target.send(buffer[:count])
        except BlockingIOError:
            sent = 0
        except OSError:
            sent = -1
        if sent < count:
            self._took_less(buffer[:count], sent)
        elif count == READ_BYTES:
            self.bulk = plane.pipes.usable

    def _pump_otherwise(self, room: int) -> bool:
        """Without a lease, or in bulk. False: no pipe is to be had, so this is to be moved plainly."""
        if room > 0:
            return self._pump_bulk(room)
        self.starve()
        return True

    def _took_less(self, chunk: memoryview, sent: int) -> None:
        """The target took only ``sent`` bytes of what was counted, -1 when it is broken."""
        self.way.not_on_the_wire(self, len(chunk) - max(sent, 0))
        if sent < 0:
            self.tunnel.end(self.way.target_reset)
        else:
            self.pending = bytes(chunk[sent:])
            self._block()

    def _pump_bulk(self, room: int) -> bool:
        """False: there is no pipe to be had, and nothing was moved."""
        pipe = self.tunnel.plane.pipes.take()
        if pipe is None:
            self.bulk = False
            return False
        self.pipe = pipe
        count = self._fill(pipe, min(room, pipe.size, TURN_BYTES))
        if count <= 0:
            return True
        self.small_reads = self.small_reads + 1 if count < SMALL_BYTES else 0
        if self.small_reads >= SMALL_READS:
            self.bulk = False
            self.small_reads = 0
        if not self.way.drain(self, pipe) and self.pipe is not None:
            self._block()
        return True

    def _fill(self, pipe: Pipe, limit: int) -> int:
        """Bytes that went from the source into the empty pipe; 0 or less: nothing to send on."""
        try:
            count = os.splice(self.source.fileno(), pipe.writer, limit, flags=SPLICE_FLAGS)
        except BlockingIOError:
            self._return_pipe(pipe)
            return -1
        except OSError as error:
            self._return_pipe(pipe)
            if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EPERM):  # not to be had here: plain reads from now on
                self.tunnel.plane.pipes.usable = self.bulk = False
            else:
                self.tunnel.end(self.way.source_reset)
            return -1
        if not count:
            self._return_pipe(pipe)
            self._end_of_input()
            return 0
        pipe.held = count
        self.way.received(self, count)
        return count

    def _return_pipe(self, pipe: Pipe) -> None:
        self.pipe = None
        self.tunnel.plane.pipes.give_back(pipe)

    def splice_out(self, pipe: Pipe, limit: int) -> int:
        """Bytes that the target took, -1 when it is broken (and the tunnel has ended)."""
        try:
            return os.splice(pipe.reader, self.target.fileno(), limit, flags=SPLICE_FLAGS)
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    def write(self, chunk: bytes) -> int:
        """Bytes that the target took, -1 when it is broken."""
        try:
            return self.target.send(chunk)
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    def after_splice(self, pipe: Pipe, sent: int) -> bool:
        """Whether the pipe is empty now (and back in the pool)."""
        if sent < 0:
            self.tunnel.end(self.way.target_reset)
            return False
        pipe.held -= sent
        if pipe.held:
            return False
        self._return_pipe(pipe)
        return True

    def _block(self) -> None:
        self.reading = False
        self.blocked = True
        self.tunnel.rearm()

    def starve(self) -> None:
        self.reading = self.blocked = False
        self.tunnel.starve()

    def _end_of_input(self) -> None:
        self.ended = True
        self.reading = False
        self._pass_end()

    def _pass_end(self) -> None:
        """Everything is through: half-close the target. The tunnel ends when both directions have."""
        self.done = True
        if self.other.done:  # closing tells the target as well
            self.tunnel.half_closed()
            return
        try:
            self.target.shutdown(socket.SHUT_WR)
        except OSError:  # the peer is gone already
            self.tunnel.end(self.way.target_reset)
            return
        self.tunnel.half_closed()


class Way(ABC):
    """What one direction does differently. One object for all flows, so that the interpreter meets one kind of flow."""

    cell: int  # of the counters
    source_reset: str
    target_reset: str

    @abstractmethod
    def received(self, flow: Flow, count: int) -> None:
        """``count`` bytes came from the source and are not sent yet."""

    @abstractmethod
    def not_on_the_wire(self, flow: Flow, count: int) -> None:
        """``count`` bytes were counted and the target did not take them."""

    @abstractmethod
    def flush_pending(self, flow: Flow) -> bool:
        """Whether all of it is sent."""

    @abstractmethod
    def drain(self, flow: Flow, pipe: Pipe) -> bool:
        """Whether the pipe is empty now, and back in the pool."""


class _Downwards(Way):
    """From the upstream to the client: counted when received."""

    cell = DOWN
    source_reset = "upstream_reset"
    target_reset = "client_reset"

    def received(self, flow: Flow, count: int) -> None:
        flow.tunnel.charge(DOWN, count)

    def not_on_the_wire(self, flow: Flow, count: int) -> None:
        """All of it has been on the upstream's wire."""

    def flush_pending(self, flow: Flow) -> bool:
        sent = flow.write(flow.pending)
        if sent < 0:
            flow.tunnel.end(self.target_reset)
            return False
        flow.pending = flow.pending[sent:]
        return not flow.pending

    def drain(self, flow: Flow, pipe: Pipe) -> bool:
        return flow.after_splice(pipe, flow.splice_out(pipe, pipe.held))


class _Upwards(Way):
    """From the client to the upstream: counted just before it is sent; what the kernel did not take is uncounted."""

    cell = UP
    source_reset = "client_reset"
    target_reset = "upstream_reset"

    def received(self, flow: Flow, count: int) -> None:
        """From the client; nothing has been on the upstream's wire yet."""

    def not_on_the_wire(self, flow: Flow, count: int) -> None:
        flow.tunnel.uncharge(UP, count)

    def flush_pending(self, flow: Flow) -> bool:
        room = _room(flow)
        if room <= 0:
            return False
        chunk = flow.pending[:room]
        flow.tunnel.charge(UP, len(chunk))
        sent = flow.write(chunk)
        if sent < len(chunk):
            flow.tunnel.uncharge(UP, len(chunk) - max(sent, 0))
        if sent < 0:
            flow.tunnel.end(self.target_reset)
            return False
        flow.pending = flow.pending[sent:]
        return not flow.pending

    def drain(self, flow: Flow, pipe: Pipe) -> bool:
        room = _room(flow)
        if room <= 0:
            return False
        limit = min(room, pipe.held)
        flow.tunnel.charge(UP, limit)
        sent = flow.splice_out(pipe, limit)
        if sent < limit:
            flow.tunnel.uncharge(UP, limit - max(sent, 0))
        return flow.after_splice(pipe, sent)


def _room(flow: Flow) -> int:
    """What may be sent up now; with nothing left the flow waits for a lease."""
    tunnel = flow.tunnel
    if tunnel.segment.epoch != tunnel.plane.calendar.epoch and not tunnel.next_segment():
        return 0
    if tunnel.account.left <= 0:
        flow.starve()
    return tunnel.account.left


DOWNWARDS: Final = _Downwards()
UPWARDS: Final = _Upwards()
