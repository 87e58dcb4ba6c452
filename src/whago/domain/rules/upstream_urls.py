"""How the address of an upstream is written."""

from __future__ import annotations


def proxy_url(protocol: str, host: str, port: int) -> str:
    """``scheme://host:port`` as the pool stores it; an IPv6 address in brackets."""
    return f"{protocol}://[{host}]:{port}" if ":" in host else f"{protocol}://{host}:{port}"
