"""What is set on the sockets of a tunnel (tcp(7), socket(7)).

Some systems pace by default: BBR leaves time between segments, with a timer of the kernel for each, so as not to fill
the queues of a network on the way. An engine is usually on the same host or beside it, where there are none to fill,
and those timers are most of what bulk costs (ADR 19). So what goes to near clients is not paced, and everything else is
sent as the system would.

Noticing a peer that is gone takes four calls and a timer of the kernel for each socket. A handshake has deadlines of
its own, and most tunnels are over in seconds, so only one that has lasted pays for it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import lru_cache
from typing import Final

from whago.gateway.config import KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, USER_TIMEOUT_S
from whago.kit.addresses import is_private_address

PACING: Final = "bbr"  # what the names of pacing algorithms begin with (net/ipv4/tcp_bbr.c)
UNPACED: Final = ("cubic", "reno")  # Linux's own default, and the one that every process may choose

_NAME_BYTES: Final = 16  # TCP_CA_NAME_MAX
_MAX_CACHED_ADDRESSES: Final = 16384

_WATCHED: Final = (
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_S * 1000),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


def send_at_once(sock: socket.SocketType) -> None:
    """Small messages do not wait for more. What a listener accepts inherits it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def acknowledge_with_data(sock: socket.SocketType) -> None:
    """For a socket that is to connect and will send at once: its first message also ends TCP's handshake.

    It saves both sides a packet, and the upstream from being woken twice (TCP_QUICKACK in tcp(7)). Should the message
    be late, the kernel acknowledges after its usual delay.
    """
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


def leave_unpaced(listener: socket.SocketType) -> str:
    """What ``listener`` accepts from now on does not pace, where the system would. Call it before ``listen``.

    Returns the system's own algorithm, for ``pace``; "" when nothing was changed, because the system does not pace or
    lets this process choose no other. It has to be inherited: a socket that has paced once goes on (``bbr_init``).
    """
    systems = _algorithm(listener)
    if systems.startswith(PACING):
        for name in UNPACED:
            with suppress(OSError):  # not in this kernel, or not in tcp_allowed_congestion_control
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
                return systems
    return ""


def pace(sock: socket.SocketType, algorithm: str) -> None:
    """The system's own algorithm again, for a client that is not near."""
    with suppress(OSError):  # another default since the start: this one serves as well
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, algorithm.encode())


@lru_cache(_MAX_CACHED_ADDRESSES)
def is_near(address: str) -> bool:
    """Whether a literal IP is of this host or of a private network."""
    return is_private_address(address)


def _algorithm(sock: socket.SocketType) -> str:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _NAME_BYTES).rstrip(b"\0").decode()


def notice_silence(sock: socket.SocketType) -> None:
    """A peer that vanished is noticed. Counts from the last packet, so that it is not too late for an older socket.

    TCP_USER_TIMEOUT also ends the keepalive (tcp(7)), so the number of its probes need not be set.
    """
    for level, option, value in _WATCHED:
        sock.setsockopt(level, option, value)
