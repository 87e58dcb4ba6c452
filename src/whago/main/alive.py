"""``python -m whago.main.alive PORT``: a container's health check. Ends with 0 when the part on this port can serve."""

from __future__ import annotations

import sys
from typing import Final

from whago.main.probes import http_answers

TIMEOUT_S: Final = 4.0  # below the five seconds that compose.yaml gives the check


def can_serve(port: int) -> bool:
    """Whether ``/readyz`` on loopback says so."""
    return http_answers(f"http://127.0.0.1:{port}/readyz", TIMEOUT_S)


if __name__ == "__main__":
    sys.exit(0 if can_serve(int(sys.argv[1])) else 1)
