"""SIGINT, SIGTERM and SIGHUP for a process that has children to end: the first asks, the second hurries."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ONE_WISH_S: Final = 0.5  # a wrapper and the terminal may both pass on the same Ctrl-C: no person is that quick


class StopRequested(BaseException):
    """Raised in the main thread at the first signal. Not an Exception: no ``except Exception`` may swallow it."""


class StopRequests:
    """The handlers in force. After ``hurry_only`` no signal raises any more: the end has begun for another reason."""

    def __init__(self, hurry: Callable[[], None]) -> None:
        self._hurry = hurry
        self._hurry_from = 0.0

    def hurry_only(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._again)

    def first(self, _number: int, _frame: FrameType | None) -> None:
        self._hurry_from = time.monotonic() + ONE_WISH_S
        self.hurry_only()
        raise StopRequested

    def _again(self, _number: int, _frame: FrameType | None) -> None:
        if time.monotonic() >= self._hurry_from:
            threading.Thread(target=self._hurry, name="hurry", daemon=True).start()


@contextmanager
def stop_requests(hurry: Callable[[], None]) -> Iterator[StopRequests]:
    """Inside, the first signal raises ``StopRequested``; each one after it calls ``hurry`` in a thread of its own.

    The thread matters: a signal handler may interrupt code that holds the very lock ``hurry`` needs.
    """
    requests = StopRequests(hurry)
    before = {number: signal.signal(number, requests.first) for number in STOP_SIGNALS}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
