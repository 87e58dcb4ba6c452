"""The few names that are dialled for real, as far as this machine's network goes. From its own address."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Final

from whago.kit.addresses import AddressRefused, resolve
from whago.simulator.sockets import prepare
from whago.simulator.targets import TargetRefused

RESOLVE_S: Final = 5.0  # as long as the system's resolver waits for its first server
CONNECT_S: Final = 5.0  # for all addresses of a name; together with the look-up below what a gateway waits for (15 s)

_UNROUTABLE: Final = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EPERM, errno.EACCES)


async def dial_outside(host: str, port: int) -> socket.socket:
    """A connection to a public address of ``host``. Raises TargetRefused, which says what is in the way."""
    addresses = await _addresses(host, port)
    failure: OSError = TimeoutError()
    try:
        async with asyncio.timeout(CONNECT_S):
            for address in addresses:
                try:
                    return await _connect(address, port)
                except OSError as refused:
                    failure = refused
    except TimeoutError:
        raise TargetRefused(504, "the target did not answer", "connection_timeout") from None
    if failure.errno in _UNROUTABLE:
        raise TargetRefused(502, "there is no way to the target", "destination_ip_unroutable")
    raise TargetRefused(502, "the target refused the connection", "connection_refused")


async def _addresses(host: str, port: int) -> list[str]:
    try:
        return await asyncio.to_thread(resolve, host, port, allow_private=False, timeout_s=RESOLVE_S)
    except AddressRefused as refused:
        if refused.is_private:
            raise TargetRefused(403, "the name of the target leads to a private address") from None
        raise TargetRefused(502, "the name of the target does not resolve", "dns_error") from None
    except TimeoutError:
        raise TargetRefused(504, "the name of the target was not resolved in time", "dns_timeout") from None


async def _connect(address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        prepare(sock)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock
