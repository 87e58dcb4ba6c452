"""Addresses of providers and proxies as administrators give them: checked, split, tried."""

from __future__ import annotations

from dataclasses import dataclass

from whago.domain.queries.probing import Trial
from whago.domain.rules.egress import normal_host
from whago.errors import InvalidInput, WhagoError
from whago.kit.addresses import is_private_host
from whago.providers.probe import ProbeResult, ip_check_page, probe
from whago.providers.static_list import read_static_list
from whago.providers.wire import ProbeUpstream


@dataclass(frozen=True, slots=True)
class GivenProxy:
    """An address without its secret, and the secret apart (None: the provider's is used)."""

    url: str
    credentials: dict[str, str] | None


def checked_host(host: str, *, allow_private: bool, name: str = "host") -> str:
    """The host in its one form. Raises InvalidInput, WhagoError("private_upstream")."""
    found = normal_host(host.removeprefix("[").removesuffix("]"))
    if found is None:
        raise InvalidInput(**{name: "Give the host alone, without http:// and without the port."})
    refuse_private(found, allow_private=allow_private)
    return found


def refuse_private(host: str, *, allow_private: bool) -> None:
    """Raises WhagoError("private_upstream") where private addresses are not allowed."""
    if not allow_private and is_private_host(host):
        raise WhagoError("private_upstream", host=host)


def read_proxy_url(text: str, *, allow_private: bool) -> GivenProxy:
    """``scheme://[user:password@]host:port``, ``host:port`` or ``host:port:user:password``.

    Raises InvalidInput with the reason, WhagoError("private_upstream").
    """
    found = read_static_list(text.replace("\n", " "))
    if found.bad_lines or not found.proxies:
        reason = found.bad_lines[0].reason if found.bad_lines else "An address such as http://host:port is needed."
        raise InvalidInput(proxy_url=reason)
    proxy = found.proxies[0]
    refuse_private(proxy.host, allow_private=allow_private)
    return GivenProxy(proxy.url, proxy.credentials)


def try_out(trial: Trial, *, allow_private: bool) -> ProbeResult:
    """One real attempt through the upstream."""
    upstream = ProbeUpstream(trial.protocol, trial.host, trial.port, trial.login.username, trial.login.password)
    page = ip_check_page(trial.ip_check_url, trial.host)
    return probe(upstream, ip_check_url=page, allow_private=allow_private, knocks=True)
