"""``python -m whago.main.alive PORT``: a container's health check. Ends with 0 when the part on this port can serve."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from typing import Final

TIMEOUT_S: Final = 4.0  # below the five seconds that compose.yaml gives the check
OK: Final = 200


def can_serve(port: int) -> bool:
    """Whether ``/readyz`` on loopback says so."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if can_serve(int(sys.argv[1])) else 1)
