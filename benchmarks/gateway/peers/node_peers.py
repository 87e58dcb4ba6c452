"""Forward proxies from npm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from benchmarks.gateway.ends import PROVIDER_PASSWORD
from benchmarks.gateway.install import Cache, Tool, Unavailable
from benchmarks.gateway.peer import Command, Peer, Place

_PROXY_CHAIN_VERSION: Final = "3.0.1"
_SCRIPT: Final = Path(__file__).with_name("proxy_chain.mjs")


def _proxy_chain(place: Place, tool: Tool) -> Command:
    provider = f"127.0.0.1:{place.far_end.auth}"
    chips = {
        client.name: {
            "token": client.token,
            "upstream": f"http://{client.upstream_user}:{PROVIDER_PASSWORD}@{provider}",
        }
        for client in place.clients
    }
    config = {"port": place.port, "modules": str(tool.folder / "package.json"), "chips": chips}
    return Command(
        [*tool.argv, str(_SCRIPT), place.write("config.json", json.dumps(config))], {"NODE_ENV": "production"}
    )


def _find_luminati(cache: Cache) -> Tool:
    """The vendor's manager has versions above 1.0 and needs an account there; we only say what the registry has."""
    version = cache.npm_newest("luminati-proxy")
    if version.startswith("0."):
        raise Unavailable(
            f"npm's luminati-proxy is now {version}, which is not the vendor's manager (that had versions from 1.0 on)"
        )
    raise Unavailable(f"{version} forwards only to its vendor's own servers, with an account there")


def _never(_place: Place, _tool: Tool) -> Command:
    raise Unavailable("it cannot be pointed at another provider")


PROXY_CHAIN: Final = Peer(
    key="proxy-chain",
    title="node proxy-chain",
    as_run="credential and upstream login of each chip by our callback",
    cannot="bytes of a tunnel known to the process at its end, not kept; no byte limit",
    start=_proxy_chain,
    install=lambda cache: cache.npm("proxy-chain", _PROXY_CHAIN_VERSION),
)
LUMINATI: Final = Peer(
    key="luminati-proxy",
    title="luminati-proxy",
    as_run="not run",
    cannot="",
    start=_never,
    install=_find_luminati,
)
