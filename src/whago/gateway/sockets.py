"""What is set on the sockets of a tunnel (tcp(7), socket(7)).

Noticing a peer that is gone takes four calls and a timer of the kernel for each socket. A handshake has deadlines of
its own, and most tunnels are over in seconds, so only one that has lasted pays for it.
"""

from __future__ import annotations

import socket
from typing import Final

from whago.gateway.config import KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, USER_TIMEOUT_S

_WATCHED: Final = (
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_S * 1000),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
)


def send_at_once(sock: socket.SocketType) -> None:
    """Small messages do not wait for more. What a listener accepts inherits it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def notice_silence(sock: socket.SocketType) -> None:
    """A peer that vanished is noticed. Counts from the last packet, so that it is not too late for an older socket.

    TCP_USER_TIMEOUT also ends the keepalive (tcp(7)), so the number of its probes need not be set.
    """
    for level, option, value in _WATCHED:
        sock.setsockopt(level, option, value)
