"""Both ends of the wire as seen from here: the provider with its origin, and the chips."""

from __future__ import annotations

import json
import os
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal, Self

from benchmarks.gateway.build import Wire
from whago.main.leash import spawn

USER_PREFIX: Final = "bench-session-"  # the provider's account is "bench": sticky user names behind one password
PROVIDER_USER: Final = "bench"
PROVIDER_PASSWORD: Final = "far-end-password"
TARGET: Final = "origin.invalid:443"  # never resolves (RFC 6761): a gateway that leaves its upstream out reaches nobody
SLACK_S: Final = 15.0  # an end answers when its time is up; this much later it hangs

Mode = Literal["http", "socks5", "raw"]


class EndFailed(Exception):
    """One of our own two programs did not answer: the measurement is void."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the chips saw. ``count``: tunnels opened, or echoes. Zero where a command does not measure it."""

    count: int
    problem: str
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0


class _End:
    """A child that reads one line and answers one line."""

    def __init__(self, argv: list[str]) -> None:
        self._process = spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Both ends leave when their stdin ends."""
        self._stdin.close()
        try:
            self._process.wait(SLACK_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def _ask(self, line: str) -> None:
        try:
            self._stdin.write(f"{line}\n".encode())
            self._stdin.flush()
        except BrokenPipeError:
            raise EndFailed("an end of the wire is gone") from None

    def _hear(self, patience_s: float) -> str:
        if not select.select([self._stdout], [], [], patience_s)[0]:
            raise EndFailed("an end of the wire did not answer in time")
        line = self._stdout.readline().decode()
        if not line:
            raise EndFailed("an end of the wire is gone")
        return line

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


class FarEnd(_End):
    """The provider. ``auth``, ``open`` and ``raw`` are its ports (see ``wire/far_end.c``)."""

    def __init__(self, wire: Wire) -> None:
        super().__init__([str(wire.far_end), USER_PREFIX, PROVIDER_PASSWORD])
        self.auth, self.open, self.raw = map(int, self._hear(SLACK_S).split())

    def bytes_received(self) -> int:
        self._ask("count")
        return int(self._hear(SLACK_S).split()[2])


class NearEnd(_End):
    """The chips behind one gateway. Each call is bounded in time; see ``wire/near_end.c``."""

    def __init__(self, wire: Wire, mode: Mode, port: int, target: str, credentials: Path) -> None:
        super().__init__([str(wire.near_end), mode, str(port), target, str(credentials)])

    def open(self, tunnels: int, ms: int, in_flight: int) -> Reply:
        return self._do(f"open {tunnels} {ms} {in_flight}", ms)

    def setup(self, tunnels: int, ms: int, in_flight: int) -> Reply:
        return self._do(f"setup {tunnels} {ms} {in_flight}", ms)

    def echo(self, ms: int) -> Reply:
        return self._do(f"echo {ms}", ms)

    def bulk(self, tunnels: int, ms: int) -> Reply:
        return self._do(f"bulk {tunnels} {ms}", ms)

    def fetch(self, tunnels: int, size: int, ms: int) -> Reply:
        return self._do(f"fetch {tunnels} {size} {ms}", ms)

    def stall(self, tunnels: int, size: int) -> Reply:
        return self._do(f"stall {tunnels} {size}", 0)

    def begin_fetch(self, tunnels: int, size: int, ms: int) -> None:
        """``fetch`` without waiting; ``end_fetch`` hears its answer."""
        self._ask(f"fetch {tunnels} {size} {ms}")

    def end_fetch(self, ms: int) -> Reply:
        return Reply(**json.loads(self._hear(ms / 1000 + SLACK_S)))

    def drop(self) -> Reply:
        return self._do("drop", 0)

    def _do(self, command: str, ms: int) -> Reply:
        self._ask(command)
        return Reply(**json.loads(self._hear(ms / 1000 + SLACK_S)))


def cores() -> int:
    return len(os.sched_getaffinity(0))
