"""The port that clients use: accepts in small batches, and refuses instead of spinning when descriptors run out."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

import structlog

from whago.gateway.config import ACCEPTS_PER_TURN, LISTEN_BACKLOG
from whago.gateway.engine import IN, Engine
from whago.gateway.sockets import is_near, leave_unpaced, pace, send_at_once

log = structlog.get_logger()

_OUT_OF_DESCRIPTORS: Final = (errno.EMFILE, errno.ENFILE)
_REST_S: Final = 0.25  # after descriptors ran out: some are closed meanwhile


class Listener:
    """``on_client`` gets every accepted socket, non-blocking.

    Sockets here are those of the C module: what ``socket.socket`` puts around them costs as much as the accept itself.
    """

    def __init__(self, engine: Engine, on_client: Callable[[socket.SocketType], None]) -> None:
        self._engine = engine
        self._on_client = on_client
        self._sock: socket.SocketType
        self._family = socket.AF_INET
        self._spare_fd = -1
        self._paced = ""
        self.bucket = 0
        self.address: tuple[str, int] = ("", 0)

    def open(self, host: str, port: int, reuse_port: bool) -> None:
        """Raises OSError when the address cannot be had."""
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.SocketType(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            send_at_once(self._sock)
            self._paced = leave_unpaced(self._sock)
            self._sock.bind((host, port))
            self._sock.listen(LISTEN_BACKLOG)
        except OSError:
            self._sock.close()
            raise
        self.address = self._sock.getsockname()[:2]
        self._spare_fd = _spare()
        self._engine.watch(self._sock.fileno(), self, IN)

    def close(self) -> None:
        """Take who has arrived already, then listen no more."""
        if self._sock.fileno() < 0:
            return
        while self._accept():
            pass
        self._engine.wheel.clear(self)
        self._engine.close(self._sock)
        if self._spare_fd >= 0:
            os.close(self._spare_fd)
            self._spare_fd = -1

    def ready(self, events: int) -> None:  # noqa: ARG002
        for _ in range(ACCEPTS_PER_TURN):
            if not self._accept():
                return

    def abort(self, reason: str) -> None:
        """A bug met one client; the port stays open for the others."""
        log.error("listener.client_failed", reason=reason)

    def on_deadline(self, now: float) -> None:  # noqa: ARG002
        if self._spare_fd < 0:
            self._spare_fd = _spare()
        self._engine.set_mask(self._sock.fileno(), IN)

    def _accept(self) -> bool:
        """False: nobody is waiting, or nobody can be taken now."""
        try:
            fd, host = _accept(self._sock)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                return True  # that client is gone already (accept(2) lists the network's errors)
            self._turn_away()
            return False
        client = socket.SocketType(self._family, socket.SOCK_STREAM, 0, fd)
        client.setblocking(False)
        if self._paced and not is_near(host):
            pace(client, self._paced)
        self._on_client(client)
        return True

    def _turn_away(self) -> None:
        """No descriptor is left: close the one kept for this, take one client with it and close that. Then rest."""
        log.error("listener.out_of_descriptors")
        if self._spare_fd >= 0:
            os.close(self._spare_fd)
            self._spare_fd = -1
            try:
                os.close(_accept(self._sock)[0])
            except OSError:
                log.debug("listener.nobody_waits")
            self._spare_fd = _spare()
        self._engine.set_mask(self._sock.fileno(), 0)
        self._engine.wheel.set(self, self._engine.now + _REST_S)


def _accept(sock: socket.SocketType) -> tuple[int, str]:
    """The new descriptor, which blocks, and whose it is. This is what ``socket.socket.accept`` itself calls."""
    fd, address = sock._accept()  # type: ignore[attr-defined]  # typeshed leaves it out
    return fd, address[0]


def _spare() -> int:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
