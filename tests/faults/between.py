"""A line between two ends of TCP that can be made slow, silent or cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Final, Self

CHUNK_BYTES: Final = 1 << 16


class Between:
    """Forwards to ``port``. ``delay_s`` is added to everything that passes, in each direction."""

    def __init__(self, port: int) -> None:
        self.delay_s = 0.0
        self._upstream = ("127.0.0.1", port)
        self._flows = threading.Event()
        self._flows.set()
        self._open = True
        self._socks: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._server.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()
        self._flows.set()

    def cut(self) -> None:
        """Whoever is connected is disconnected, and whoever connects is disconnected at once."""
        self._open = False
        for sock in self._socks:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._socks.clear()

    def fall_silent(self) -> None:
        """Connections stay, and nothing passes: not even the news that the other side is gone."""
        self._flows.clear()

    def heal(self) -> None:
        self.delay_s = 0.0
        self._open = True
        self._flows.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._flows.wait()
        try:
            far = socket.create_connection(self._upstream, timeout=20) if self._open else None
        except OSError:
            far = None
        if far is None:
            near.close()
            return
        far.settimeout(None)
        self._socks += [near, far]
        for source, target in ((near, far), (far, near)):
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK_BYTES):
                time.sleep(self.delay_s)
                self._flows.wait()
                target.sendall(chunk)
        self._flows.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
