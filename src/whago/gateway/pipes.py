"""A small pool of kernel pipes for splice(2): bulk bytes go from socket to socket without entering this process."""

from __future__ import annotations

import fcntl
import os
from typing import Final

PIPE_BYTES: Final = 1024 * 1024  # what an unprivileged process may ask for by default (fs.pipe-max-size)
MIN_PIPE_BYTES: Final = 64 * 1024  # a smaller pipe moves less per call than a plain read does
MAX_PIPES: Final = 128  # each may pin its size of kernel memory while a receiver stalls; past it, plain reads
SPARE_PIPES: Final = 8  # kept empty for the next tunnel

SPLICE_FLAGS: Final = getattr(os, "SPLICE_F_MOVE", 1) | getattr(os, "SPLICE_F_NONBLOCK", 2)


class Pipe:
    """``size``: what the kernel gave. ``held``: bytes in it now."""

    __slots__ = ("held", "reader", "size", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.size = _enlarge(self.writer)
        self.held = 0

    def close(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class PipePool:
    """Hands out empty pipes. ``usable`` turns False for good where splice does not work."""

    def __init__(self, usable: bool) -> None:
        self.usable = usable and hasattr(os, "splice")
        self._spare: list[Pipe] = []
        self.open_pipes = 0

    def take(self) -> Pipe | None:
        """None: go on with plain reads."""
        if self._spare:
            return self._spare.pop()
        if not self.usable or self.open_pipes >= MAX_PIPES:
            return None
        return self._create()

    def give_back(self, pipe: Pipe) -> None:
        """A pipe with bytes in it is closed: they belong to a tunnel that is gone."""
        if pipe.held or len(self._spare) >= SPARE_PIPES:
            pipe.close()
            self.open_pipes -= 1
        else:
            self._spare.append(pipe)

    def close(self) -> None:
        for pipe in self._spare:
            pipe.close()
        self._spare.clear()

    def _create(self) -> Pipe | None:
        try:
            pipe = Pipe()
        except OSError:  # out of descriptors: plain reads need none
            return None
        if pipe.size < MIN_PIPE_BYTES:  # the user's share of pipe memory is used up
            pipe.close()
            return None
        self.open_pipes += 1
        return pipe


def _enlarge(fd: int) -> int:
    """Ask for PIPE_BYTES and accept what there is (pipe-user-pages-soft limits unprivileged users)."""
    try:
        return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
