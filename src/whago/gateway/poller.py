"""One epoll for the asyncio loop and for the tunnels.

asyncio asks its selector what has happened; this selector also serves the tunnels while it looks. An epoll of their own
inside asyncio's would cost another wake-up per packet and another call per turn.
"""

from __future__ import annotations

import asyncio
import math
import select
import selectors
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

MAX_EVENTS: Final = 512  # per round; the rest is reported again
ROUNDS: Final = 8  # per turn, while there is news for tunnels only: a round is cheaper than a turn of asyncio

News = list[tuple[int, int]]
"""Descriptors and their epoll events."""

T = TypeVar("T")


class Poller(selectors.BaseSelector):
    """``epoll`` may watch descriptors that asyncio does not know; ``on_news`` hears of those. It must not raise."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.on_news: Callable[[News], None] = _ignore
        self._keys: dict[int, SelectorKey] = {}

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> SelectorKey:
        fd = _number(fileobj)
        if fd in self._keys:
            raise KeyError(f"descriptor {fd} is registered already")
        self.epoll.register(fd, _mask(events))
        return self._keep(SelectorKey(fileobj, fd, events, data))

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> SelectorKey:
        fd = self._keys[_number(fileobj)].fd
        self.epoll.modify(fd, _mask(events))
        return self._keep(SelectorKey(fileobj, fd, events, data))

    def unregister(self, fileobj: FileDescriptorLike) -> SelectorKey:
        key = self._keys.pop(_number(fileobj))
        with suppress(OSError):  # closed before: that took it out
            self.epoll.unregister(key.fd)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """What asyncio is to hear of. Whatever comes for tunnels meanwhile is served before this returns."""
        keys, wait = self._keys, _whole_ms(timeout)
        for _ in range(ROUNDS):
            news = self.epoll.poll(wait, MAX_EVENTS)
            told = [(keys[fd], _events(mask) & keys[fd].events) for fd, mask in news if fd in keys]
            if told:
                news = [entry for entry in news if entry[0] not in keys]
            if news:
                self.on_news(news)
            if told or not news:
                return told
            wait = 0.0
        return []

    def close(self) -> None:
        self._keys.clear()
        self.epoll.close()

    def get_map(self) -> Mapping[Any, SelectorKey]:
        return self._keys

    def get_key(self, fileobj: FileDescriptorLike) -> SelectorKey:
        return self._keys[_number(fileobj)]

    def _keep(self, key: SelectorKey) -> SelectorKey:
        self._keys[key.fd] = key
        return key


class GatewayLoop(asyncio.SelectorEventLoop):
    """The loop that a gateway runs on."""

    def __init__(self) -> None:
        self.poller = Poller()
        super().__init__(self.poller)


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on a ``GatewayLoop``."""
    with asyncio.Runner(loop_factory=GatewayLoop) as runner:
        return runner.run(main)


def running_loop() -> GatewayLoop:
    """Raises RuntimeError outside of ``run``."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, GatewayLoop):
        raise RuntimeError("a gateway needs its own kind of loop: start it with whago.gateway.poller.run")
    return loop


def _ignore(news: News) -> None:
    """Nobody serves tunnels on this loop."""


def _number(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _mask(events: int) -> int:
    return (select.EPOLLIN if events & EVENT_READ else 0) | (select.EPOLLOUT if events & EVENT_WRITE else 0)


def _events(mask: int) -> int:
    """An error or a hang-up is news for readers and writers."""
    return (EVENT_READ if mask & ~select.EPOLLOUT else 0) | (EVENT_WRITE if mask & ~select.EPOLLIN else 0)


def _whole_ms(timeout: float | None) -> float | None:
    """epoll counts milliseconds, and rounds a timer down: asyncio would spin for its last one."""
    return None if timeout is None else math.ceil(max(timeout, 0.0) * 1000) / 1000
