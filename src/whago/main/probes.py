"""Whether a part answers: small questions with short patience."""

from __future__ import annotations

import http.client
import socket
from typing import Final
from urllib.parse import urlsplit

PATIENCE_S: Final = 2.0  # a healthy part on this machine answers in milliseconds


def http_answers(url: str, patience_s: float = PATIENCE_S) -> bool:
    """Whether a GET is answered with 200."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=patience_s)
    try:
        connection.request("GET", address.path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def port_answers(host: str, port: int) -> bool:
    """Whether something accepts a TCP connection."""
    try:
        socket.create_connection((host, port), timeout=PATIENCE_S).close()
    except OSError:
        return False
    return True
