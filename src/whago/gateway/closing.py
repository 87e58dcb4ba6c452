"""Closing sockets so that the last bytes still arrive.

A socket closed with unread input answers with a reset, which throws away what was sent and not yet read. So a client is
shut for writing and read empty for a moment, and an upstream waits until its send buffer is empty. The upstream is not
read here, because what is read there is billed.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Final

from whago.gateway.config import LINGER_BYTES, LINGER_S, READ_BYTES
from whago.gateway.engine import IN, Engine

_OUTQ: Final = termios.TIOCOUTQ  # SIOCOUTQ: bytes sent and not yet acknowledged (tcp(7))
_SHORT_S: Final = 0.25


def close_client(engine: Engine, sock: socket.SocketType) -> None:
    """The client gets what was sent, then the end."""
    if _shut(sock):
        _ClientLinger(engine, sock)
    else:
        engine.close(sock)


def close_upstream(engine: Engine, sock: socket.SocketType) -> None:
    """The upstream gets what was counted as sent."""
    if _shut(sock) and _unsent(sock):
        _UpstreamLinger(engine, sock)
    else:
        engine.close(sock)


def _shut(sock: socket.SocketType) -> bool:
    try:
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # the peer is gone: nothing to wait for
        return False
    return True


def _unsent(sock: socket.SocketType) -> int:
    answer = fcntl.ioctl(sock.fileno(), _OUTQ, struct.pack("i", 0))
    return int(struct.unpack("i", answer)[0])


class _ClientLinger:
    """Reads and forgets until the client closes, sends too much or takes too long."""

    def __init__(self, engine: Engine, sock: socket.SocketType) -> None:
        self.bucket = 0
        self._engine = engine
        self._sock = sock
        self._budget = LINGER_BYTES
        engine.watch(sock.fileno(), self, IN)
        engine.wheel.set(self, engine.now + LINGER_S)

    def ready(self, events: int) -> None:  # noqa: ARG002
        try:
            count = len(self._sock.recv(READ_BYTES))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._budget -= count
        if not count or self._budget <= 0:
            self.abort("")

    def abort(self, reason: str) -> None:  # noqa: ARG002
        self._engine.wheel.clear(self)
        self._engine.close(self._sock)

    def on_deadline(self, now: float) -> None:  # noqa: ARG002
        self._engine.close(self._sock)


class _UpstreamLinger:
    """Looks a few times whether the send buffer is empty."""

    def __init__(self, engine: Engine, sock: socket.SocketType) -> None:
        self.bucket = 0
        self._engine = engine
        self._sock = sock
        self._end = engine.now + LINGER_S
        engine.watch(sock.fileno(), self, 0)
        engine.wheel.set(self, engine.now + _SHORT_S)

    def ready(self, events: int) -> None:
        """Not watched for anything."""

    def abort(self, reason: str) -> None:  # noqa: ARG002
        self._engine.wheel.clear(self)
        self._engine.close(self._sock)

    def on_deadline(self, now: float) -> None:
        if now < self._end and _unsent(self._sock):
            self._engine.wheel.set(self, now + _SHORT_S)
        else:
            self._engine.close(self._sock)
