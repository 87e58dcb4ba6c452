"""Real gateway processes over a real database, between chips and a provider that count by themselves."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from uuid import UUID

from tests.conftest import SECRET
from tests.factories import make_chip, make_provider, make_proxy
from tests.faults.far_end import FarEnd
from tests.spine.conftest import START_S, wait_until
from whago.domain.actions.chips import CreatedChip
from whago.domain.models import User
from whago.kit.crypto import Vault
from whago.main.embedded import free_port

WHAGO = ("-P", "-m", "whago")


class Gateway:
    """A gateway process that began to listen on ``port``."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        wait_until(lambda: not self.lives)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        wait_until(lambda: not self.lives, 20)

    def wait_for_port(self) -> Self:
        wait_until(self._listens, START_S)
        return self

    @property
    def lives(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def _listens(self) -> bool:
        assert self.lives, "the gateway did not start"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class CommandGateway(Gateway):
    """``whago gateway …`` as an operator starts it."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        super().__init__(port, process.pid)
        self.process = process

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        super().stop()
        assert self.process.returncode == 0


class Nursery:
    """Forks gateways of one machine: they share a data folder."""

    def __init__(self, env: dict[str, str], log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env,
        )  # fmt: skip

    def gateway(self) -> Gateway:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        port = free_port()
        self._process.stdin.write(b"%d\n" % port)
        self._process.stdin.flush()
        return Gateway(port, int(self._process.stdout.readline())).wait_for_port()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Stage:
    """``gateway_url``: how gateways reach the database; another one than ours when something stands in between.

    ``settings``: more of the gateways' environment. Both are read when the first of them starts.
    """

    def __init__(self, database_url: str, vault: Vault, folder: Path) -> None:
        self.gateway_url = database_url
        self.folder = folder
        self.far_end = FarEnd()
        self.settings: dict[str, str] = {}
        self._vault = vault
        self._stack = ExitStack()
        self._log = self._stack.enter_context((folder / "gateways.log").open("ab"))
        self._nursery: Nursery | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(self.far_end)
        self.proxy = make_proxy(make_provider(self._vault, port=self.far_end.port, cost_per_gb=Decimal("25.37")))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def command(self, *arguments: str, program: tuple[str, ...] = WHAGO, port: int | None = None) -> CommandGateway:
        """``whago gateway`` with ``arguments``, without a status port unless they name one."""
        if "--status-port" not in arguments:
            arguments = (*arguments, "--status-port", "0")
        port = port or free_port()
        argv = [sys.executable, *program, "gateway", "--port", str(port), *arguments]
        started = CommandGateway(port, subprocess.Popen(argv, stderr=self._log, env=self._env()))
        self._stack.callback(started.kill)
        return started

    def gateway(self) -> Gateway:
        """One more process on this machine, forked: it is there at once."""
        if self._nursery is None:
            self._nursery = Nursery(self._env(), self._log)
            self._stack.callback(self._nursery.close)
        started = self._nursery.gateway()
        self._stack.callback(started.kill)
        return started

    def _env(self) -> dict[str, str]:
        return {
            **os.environ,
            "WHAGO_DATABASE_URL": self.gateway_url,
            "WHAGO_SECRET_KEY": SECRET,
            "WHAGO_DATA_DIR": str(self.folder),
            "WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1",
            **self.settings,
        }

    def chips(self, user: User, count: int) -> list[tuple[UUID, str]]:
        made: list[CreatedChip] = [make_chip(user) for _ in range(count)]
        return [(chip.chip_id, chip.gateway_token) for chip in made]

    @property
    def counter_files(self) -> list[Path]:
        return sorted((self.folder / "counters").iterdir())
