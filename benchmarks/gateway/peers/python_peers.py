"""Forward proxies from PyPI."""

from __future__ import annotations

from typing import Final

from benchmarks.gateway.ends import PROVIDER_PASSWORD, USER_PREFIX
from benchmarks.gateway.install import Tool
from benchmarks.gateway.peer import Command, Peer, Place

_LOGIN: Final = f"{USER_PREFIX}all:{PROVIDER_PASSWORD}"
_PROXY_PY: Final = "proxy.py==2.4.10"
_MITMPROXY: Final = "mitmproxy==11.0.2"  # the newest that runs on Python 3.11
_PPROXY: Final = "pproxy==2.7.9"


def _proxy_py(place: Place, tool: Tool) -> Command:
    client = place.clients[0]
    argv = [*tool.argv, "--hostname", "127.0.0.1", "--port", str(place.port), "--log-level", "e", "--timeout", "3600"]
    argv += ["--num-workers", "1", "--num-acceptors", "1", "--basic-auth", f"{client.name}:{client.token}"]
    argv += ["--plugins", "proxy.plugin.ProxyPoolPlugin", "--proxy-pool", f"{_LOGIN}@127.0.0.1:{place.far_end.auth}"]
    return Command(argv, {"HOME": str(place.folder)})


def _mitmproxy(place: Place, tool: Tool) -> Command:
    """As a plain forwarder: every host is on the list of those that are passed through without decryption."""
    client = place.clients[0]
    argv = [*tool.argv, "--quiet", "--listen-host", "127.0.0.1", "--listen-port", str(place.port)]
    argv += ["--mode", f"upstream:http://127.0.0.1:{place.far_end.auth}", "--set", f"upstream_auth={_LOGIN}"]
    argv += ["--set", f"confdir={place.folder}", "--set", f"proxyauth={client.name}:{client.token}"]
    argv += ["--set", "connection_strategy=eager", "--ignore-hosts", ".*"]
    return Command(argv, {"HOME": str(place.folder)})


def _pproxy(place: Place, tool: Tool) -> Command:
    client = place.clients[0]
    listen = f"http://127.0.0.1:{place.port}/#{client.name}:{client.token}"
    return Command([*tool.argv, "-l", listen, "-r", f"http://127.0.0.1:{place.far_end.auth}#{_LOGIN}"])


PROXY_PY: Final = Peer(
    key="proxy.py",
    title="proxy.py",
    as_run="one credential for all chips, one upstream login",
    cannot="no upstream login per chip, no metering, no limits",
    start=_proxy_py,
    install=lambda cache: cache.pip(_PROXY_PY, "proxy"),
    login="one",
)
MITMPROXY: Final = Peer(
    key="mitmproxy",
    title="mitmproxy",
    as_run="without decryption; one credential for all chips, one upstream login",
    cannot="no upstream login per chip, no metering, no limits",
    start=_mitmproxy,
    install=lambda cache: cache.pip(_MITMPROXY, "mitmdump"),
    login="one",
)
PPROXY: Final = Peer(
    key="pproxy",
    title="pproxy",
    as_run="one credential for all chips, one upstream login",
    cannot="no upstream login per chip, no metering, no limits",
    start=_pproxy,
    install=lambda cache: cache.pip(_PPROXY, "pproxy"),
    login="one",
)
