"""Who hears of which socket, and what happens in a turn, on the epoll that the asyncio loop uses as well.

Tunnels never touch asyncio transports, so moving bytes costs a list look-up and a method call, while control work
(authorise, lease, report, DNS) stays ordinary coroutines. Level-triggered. A socket that waits for nothing is taken out
of the epoll, because a hung-up peer would otherwise be reported without end.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from whago.gateway.poller import GatewayLoop, News
from whago.gateway.wheel import GRAIN_S, Wheel

log = structlog.get_logger()

IN: Final = select.EPOLLIN
OUT: Final = select.EPOLLOUT
BROKEN: Final = select.EPOLLERR | select.EPOLLHUP
LAG_KEPT: Final = 0.98  # of the last tick's: halved every 8 s, so that whoever looks each 15 s sees a stall


class Handler(Protocol):
    """Whoever waits for a socket."""

    def ready(self, events: int) -> None: ...

    def abort(self, reason: str) -> None:
        """End at once: a bug was hit while this handler was served."""
        ...


class Engine:
    """``now``: monotonic seconds at the start of the turn. ``masks``: by descriptor, to be read only. ``lag_s``: how
    late ticks were lately.

    ``before_turn`` runs before any byte of a turn moves.
    """

    def __init__(self, loop: GatewayLoop, before_turn: Callable[[float], None]) -> None:
        self.now = time.monotonic()
        self.wheel = Wheel(self.now)
        self.lag_s = 0.0
        self._loop = loop
        self._before_turn = before_turn
        self._epoll = loop.poller.epoll
        self._handlers: list[Handler | None] = [None] * 1024
        self.masks: list[int] = [0] * 1024
        self._in_turn = False
        self._closing: dict[int, socket.SocketType] = {}
        self._ticker: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        self._loop.poller.on_news = self._turn
        self._schedule_tick()

    def stop(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        for handler in list(filter(None, self._handlers)):
            handler.abort("stopped")

    def watch(self, fd: int, handler: Handler, mask: int) -> None:
        """From now on ``handler`` hears of ``fd``; ``mask`` 0 waits for nothing."""
        if fd >= len(self._handlers):
            self._grow(fd)
        self._handlers[fd] = handler
        if mask and not self.masks[fd]:
            self.masks[fd] = mask
            self._epoll.register(fd, mask)
        else:
            self.set_mask(fd, mask)

    def hand_over(self, fd: int, handler: Handler) -> None:
        """Another handler for a descriptor that is watched already; the mask stays."""
        self._handlers[fd] = handler

    def set_mask(self, fd: int, mask: int) -> None:
        old = self.masks[fd]
        if old == mask:
            return
        self.masks[fd] = mask
        if not old:
            self._epoll.register(fd, mask)
        elif not mask:
            self._epoll.unregister(fd)
        else:
            self._epoll.modify(fd, mask)

    def close(self, sock: socket.SocketType) -> None:
        """Stop watching now and close at the end of the turn, so that no event of this turn meets a reused number.

        A second call does nothing.
        """
        fd = sock.fileno()
        if fd < 0 or fd in self._closing:
            return
        if fd < len(self._handlers):
            self._handlers[fd] = None
            self.masks[fd] = 0  # closing takes it out of the epoll
        if self._in_turn:
            self._closing[fd] = sock
        else:
            sock.close()

    def _grow(self, fd: int) -> None:
        more = max(fd + 1 - len(self._handlers), len(self._handlers))
        self._handlers.extend([None] * more)
        self.masks.extend([0] * more)

    def _turn(self, news: News) -> None:
        self.now = time.monotonic()
        self._before_turn(self.now)
        self._in_turn = True
        try:
            self._dispatch(news)
        finally:
            self._in_turn = False
            self._close_sockets()

    def _dispatch(self, news: News) -> None:
        handlers = self._handlers
        for fd, events in news:
            handler = handlers[fd]
            if handler is None:
                continue
            try:
                handler.ready(events)
            except Exception:
                log.exception("engine.handler_failed", handler=type(handler).__name__)
                handler.abort("internal_error")

    def _close_sockets(self) -> None:
        for sock in self._closing.values():
            sock.close()
        self._closing.clear()

    def _schedule_tick(self) -> None:
        self._due = self._loop.time() + GRAIN_S
        self._ticker = self._loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        self.lag_s = max(self._loop.time() - self._due, self.lag_s * LAG_KEPT)
        self._schedule_tick()
        self.now = time.monotonic()
        self._before_turn(self.now)
        self.wheel.turn(self.now)
