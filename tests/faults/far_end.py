"""The provider and the origin behind it in one, counting by itself, and the chips at the other end.

After its 200 a tunnel obeys one line from the chip: ``pull`` sends without end, ``push`` reads without end, ``get N``
sends N bytes. So the bulk of each tunnel goes one way, and what a killed gateway had already passed on arrives whole: a
socket that dies with unread input would throw it away.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

from tests.gateway.wire import Server, Wire, open_http, read_exactly

ANSWER = b"HTTP/1.1 200 Connection established\r\n\r\n"
BLOCK = b"z" * 65536
BULK_HOST = "media.whatsapp.net"
SMALL_HOST = "web.whatsapp.com"


class Tapped(Wire):
    """``host``: where the chip wanted to go. ``over`` is set when the connection has ended and its counts stand."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.host = ""
        self.over = threading.Event()

    @property
    def uploaded(self) -> int:
        """Bytes that came through the tunnel."""
        return self.received + len(ANSWER) - self.exchange if self.exchange else 0


class FarEnd:
    """``wires`` are the connections since ``forget``; nothing here shares code with the product."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.wires: list[Tapped] = []
        self.server = Server(self._serve, host)

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.__exit__(kind, error, at)

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def total(self) -> int:
        """All bytes, both ways, also those that were given to the kernel and never taken from it."""
        return sum(wire.received + wire.sent for wire in self.wires)

    def forget(self) -> None:
        """Count anew. The connections so far must be over."""
        self.wires = []

    def flush(self) -> None:
        """Returns when everybody who had connected before has been taken out of the kernel's queue and counted."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as last:
            last.sendall(b"FLUSH flush:0 \r\n\r\n")
            read_exactly(last, len(ANSWER))
        for wire in self.towards("flush"):
            self.wires.remove(wire)

    def towards(self, host: str) -> list[Tapped]:
        """The connections for ``host``, when each of them is over."""
        found = [wire for wire in self.wires if wire.host == host]
        for wire in found:
            assert wire.over.wait(20), "the far end still hears of a connection that should be over"
        return found

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Tapped(sock)
        self.wires.append(wire)
        try:
            self._answer(wire)
        finally:
            wire.over.set()

    def _answer(self, wire: Tapped) -> None:
        wire.host = wire.read_until(b"\r\n\r\n").split()[1].decode().partition(":")[0]
        wire.send(ANSWER)
        wire.exchange = wire.received + wire.sent
        while (words := wire.read_until(b"\n").split()) and words[0] == b"get":
            wire.send(bytes(int(words[1])))
        if words == [b"pull"]:
            while True:
                wire.send(BLOCK)
        while chunk := wire.sock.recv(1 << 16):
            wire.received += len(chunk)


class Chip(threading.Thread):
    """One chip's connection. ``got`` counts what arrived; a connection that breaks ends the thread."""

    def __init__(self, port: int, chip_id: object, token: str) -> None:
        super().__init__(daemon=True)
        self.credential = (port, str(chip_id), token)
        self.got = 0
        self.moving = threading.Event()

    def open(self, host: str) -> socket.socket:
        return open_http(*self.credential, f"{host}:443")


class Pull(Chip):
    """Downloads without end."""

    def __init__(self, port: int, chip_id: object, token: str) -> None:
        super().__init__(port, chip_id, token)
        self.sock = self.open(BULK_HOST)

    def run(self) -> None:
        with contextlib.suppress(OSError), self.sock:
            self.sock.settimeout(None)
            self.sock.sendall(b"pull\n")
            while count := len(self.sock.recv(1 << 16)):
                self.got += count
                self.moving.set()


class Push(Pull):
    """Uploads without end."""

    def run(self) -> None:
        with contextlib.suppress(OSError), self.sock:
            self.sock.settimeout(None)
            self.sock.sendall(b"push\n")
            while True:
                self.sock.sendall(BLOCK)
                self.moving.set()


class Reconnects(Chip):
    """Opens, asks for a little, closes, and again. ``complete`` bytes crossed the wire for certain."""

    def __init__(self, port: int, chip_id: object, token: str, size: int = 20_000) -> None:
        super().__init__(port, chip_id, token)
        self._order = b"get %d\n" % size
        self._size = size
        self.opened = 0
        self.stopping = threading.Event()
        self.rounds = 0
        self.refused = 0

    @property
    def tunnel_bytes(self) -> int:
        """Of the finished rounds, without their handshakes."""
        return self.rounds * (self._size + len(self._order))

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                self._round()
            except (OSError, EOFError, AssertionError):
                self.refused += 1
                self.stopping.wait(0.02)

    def stop(self) -> None:
        self.stopping.set()
        self.join(30)
        assert not self.is_alive()

    def _round(self) -> None:
        with self.open(SMALL_HOST) as sock:
            self.opened += 1
            self._ask(sock)
        self.rounds += 1
        self.moving.set()

    def _ask(self, sock: socket.socket) -> None:
        sock.sendall(self._order)
        missing = self._size
        while missing:
            count = len(sock.recv(missing))
            if not count:
                raise EOFError
            self.got += count
            missing -= count


class Talks(Reconnects):
    """Stays connected and asks again and again; ``refused`` counts how often it was cut."""

    def _round(self) -> None:
        with self.open(SMALL_HOST) as sock:
            self.opened += 1
            while not self.stopping.is_set():
                self._ask(sock)
                self.rounds += 1
                self.moving.set()
                self.stopping.wait(0.05)
