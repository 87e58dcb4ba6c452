"""Listeners of one simulated provider: proxy ports, static proxies, origins, admin. Runs inside an asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from whago.simulator.admin import Admin
from whago.simulator.client import Client
from whago.simulator.http import StreamServer, http_connection
from whago.simulator.origins import Origins
from whago.simulator.relay import CHUNK_BYTES
from whago.simulator.sockets import listen, prepare
from whago.simulator.state import ProviderState
from whago.simulator.targets import Pattern, TargetMap, TargetRule

log = structlog.get_logger()

WILDCARD: Final = "0.0.0.0"  # noqa: S104 - only if the operator asks for it
CLIENTS_MAX: Final = 10_000  # connections at once; above it new ones are closed at once
SWEEP_S: Final = 0.1  # how late an idle tunnel may be dropped
ACCEPTS_PER_TURN: Final = 64  # a herd of new clients shall not hold up running tunnels
ACCEPT_PAUSE_S: Final = 0.1  # when descriptors run out: let some close before trying again


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to listen. Port 0 takes a free one; ``socks_port`` None means only the shared port."""

    host: str = "127.0.0.1"
    port: int = 3120
    admin_port: int = 3121
    socks_port: int | None = None


class ProviderServer:
    """Start it inside a running loop; everything it opened is closed by :meth:`stop`."""

    def __init__(
        self,
        state: ProviderState,
        addresses: Addresses,
        rules: Sequence[TargetRule] = (),
        reach: Sequence[Pattern] = (),
    ) -> None:
        self._state = state
        self._addresses = addresses
        self._rules = tuple(rules)
        self._reach = tuple(reach)
        self._bound: list[tuple[str, int]] = []
        self._listeners: set[socket.socket] = set()
        self._clients: dict[Client, asyncio.Task[None]] = {}
        self._scratch = memoryview(bytearray(CHUNK_BYTES))
        self._targets = TargetMap(rules)
        self._admin = StreamServer(http_connection(Admin(state, self).handle))
        self._sweeper: asyncio.Task[None] | None = None
        self.origins = Origins(state.exits)
        self.admin_port = 0  # on 127.0.0.1; known after the start

    async def start(self) -> None:
        """Listen everywhere, or nowhere. Raises OSError for an address that is taken."""
        try:
            await self.origins.start()
            self._targets = TargetMap(self._rules, self._reach, self.origins.rules())
            _, self.admin_port = await self._admin.start("127.0.0.1", self._addresses.admin_port)
            self._open_ports()
            self._sweeper = asyncio.create_task(self._sweep())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything; running tunnels end."""
        self._close_ports()
        await self._admin.stop()
        await self.origins.stop()
        ending = [*self._clients.values(), *([self._sweeper] if self._sweeper else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def port(self) -> int:
        """The proxy port, HTTP and SOCKS5."""
        return self._bound[0][1]

    def ports(self) -> dict[str, Any]:
        """See ``admin.Ports``."""
        return {
            "host": self._addresses.host,
            "port": self.port,
            "socks_port": self._bound[1][1] if self._addresses.socks_port is not None else self.port,
            "admin_port": self.admin_port,
            "statics": len(self._state.statics),
            "clients": len(self._clients),
            "origins": {name: "{}:{}".format(*getattr(self.origins, name)) for name in ("ip_check", "traffic", "echo")},
        }

    def is_accepting(self) -> bool:
        """See ``admin.Ports``."""
        return bool(self._listeners)

    def apply_port_switch(self) -> None:
        """See ``admin.Ports``."""
        if self._state.board.port_down:
            self._close_ports()
        elif not self._listeners:
            self._open_ports()

    def cut(self, scope: str) -> int:
        """See ``admin.Ports``."""
        chosen = [client for client in self._clients if client.tunnel and _in_scope(client, scope)]
        for client in chosen:
            client.reset_when_cancelled()
            self._clients[client].cancel()
        return len(chosen)

    def static_list(self) -> list[str]:
        """See ``admin.Ports``."""
        return self._state.static_list(self.port)

    def _open_ports(self) -> None:
        if not self._bound:
            self._bound = [(self._addresses.host, self._addresses.port)]
            if self._addresses.socks_port is not None:
                self._bound.append((self._addresses.host, self._addresses.socks_port))
        try:
            self._bound = [self._listen(host, port) for host, port in self._bound]
            if self._addresses.host != WILDCARD:  # which already takes what is meant for the static addresses
                for address in self._state.statics:
                    self._listen(address, self.port)
        except OSError:
            self._close_ports()
            raise

    def _listen(self, host: str, port: int) -> tuple[str, int]:
        listener = listen(host, port)
        self._listeners.add(listener)
        self._watch(listener)
        bound: tuple[str, int] = listener.getsockname()
        return bound

    def _watch(self, listener: socket.socket) -> None:
        if listener in self._listeners:
            asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    def _close_ports(self) -> None:
        for listener in self._listeners:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        self._listeners.clear()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                sock, peer = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as full:
                log.warning("simulator.accept_failed", reason=full.strerror)
                asyncio.get_running_loop().remove_reader(listener)
                asyncio.get_running_loop().call_later(ACCEPT_PAUSE_S, self._watch, listener)
                return
            self._welcome(sock, peer[0])

    def _welcome(self, sock: socket.socket, peer_ip: str) -> None:
        if len(self._clients) >= CLIENTS_MAX:
            sock.close()
            return
        prepare(sock)
        client = Client(sock, sock.getsockname()[0], peer_ip, self._state, self._targets, self._scratch)
        task = asyncio.create_task(client.serve())
        self._clients[client] = task
        task.add_done_callback(lambda ended: self._goodbye(client, ended))

    def _goodbye(self, client: Client, ended: asyncio.Task[None]) -> None:
        del self._clients[client]
        with contextlib.suppress(asyncio.CancelledError):
            if error := ended.exception():
                log.error("simulator.client_failed", exc_info=error)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            if self._state.board.drops_idle:
                self._drop_idle(asyncio.get_running_loop().time())

    def _drop_idle(self, now: float) -> None:
        for client, task in list(self._clients.items()):
            if client.tunnel is None:
                continue
            limit_s = client.tunnel.switches().drop_idle_after_s
            if limit_s is not None and now - client.tunnel.last_moved_at >= limit_s:
                task.cancel()


def _in_scope(client: Client, scope: str) -> bool:
    if client.sticky is None:
        return False
    return scope in ("all", f"account:{client.sticky.account.name}", f"session:{client.sticky.name}")
