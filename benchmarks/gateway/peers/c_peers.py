"""Forward proxies written in C (and one in Go), as the distribution ships them."""

from __future__ import annotations

from typing import Final

from benchmarks.gateway.ends import PROVIDER_PASSWORD, USER_PREFIX
from benchmarks.gateway.install import Tool
from benchmarks.gateway.peer import Command, Peer, Place

_UPSTREAM_USER: Final = f"{USER_PREFIX}all"  # one login at the provider for every chip: these peers know no other way


def _tinyproxy(place: Place, tool: Tool) -> Command:
    client = place.clients[0]
    text = f"""
Port {place.port}
Listen 127.0.0.1
Timeout 3600
MaxClients 20000
LogLevel Error
BasicAuth {client.name} {client.token}
ConnectPort 443
Upstream http {_UPSTREAM_USER}:{PROVIDER_PASSWORD}@127.0.0.1:{place.far_end.auth}
"""
    return Command([*tool.argv, "-d", "-c", place.write("tinyproxy.conf", text)], tool.env)


def _squid(place: Place, tool: Tool) -> Command:
    """In the foreground, without disk, cache or logs. Paths that are compiled in are named, as it may be unpacked."""
    share, libexec = tool.folder / "usr" / "share" / "squid", tool.folder / "usr" / "lib" / "squid"
    place.folder.chmod(0o777)  # as root it becomes the user "proxy"
    text = f"""
http_port 127.0.0.1:{place.port}
http_access allow all
never_direct allow all
cache_peer 127.0.0.1 parent {place.far_end.auth} 0 no-query no-digest no-netdb-exchange default \
login={_UPSTREAM_USER}:{PROVIDER_PASSWORD}
cache deny all
cache_mem 8 MB
access_log none
cache_log {place.folder}/cache.log
cache_store_log none
logfile_rotate 0
pid_filename none
netdb_filename none
coredump_dir {place.folder}
mime_table {share}/mime.conf
error_directory {share}/errors/en
icon_directory {share}/icons
pinger_enable off
unlinkd_program {libexec}/unlinkd
logfile_daemon {libexec}/log_file_daemon
shutdown_lifetime 1 seconds
max_filedescriptors 20000
"""
    return Command([*tool.argv, "-N", "-f", place.write("squid.conf", text)], tool.env)


def _privoxy(place: Place, tool: Tool) -> Command:
    """No filters at all. The chip's Proxy-Authorization is the provider's: it is passed on unread."""
    text = f"""
listen-address 127.0.0.1:{place.port}
forward / 127.0.0.1:{place.far_end.auth}
enable-proxy-authentication-forwarding 1
max-client-connections 20000
listen-backlog 4096
socket-timeout 3600
toggle 0
"""
    config = place.write("config", text)
    return Command([*tool.argv, "--no-daemon", config], tool.env)


def _dante(place: Place, tool: Tool) -> Command:
    text = f"""
errorlog: stderr
internal: 127.0.0.1 port = {place.port}
external: 127.0.0.1
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 protocol: tcp }}
"""
    return Command([*tool.argv, "-f", place.write("danted.conf", text), "-p", str(place.folder / "pid")], tool.env)


def _threeproxy(place: Place, tool: Tool) -> Command:
    client = place.clients[0]
    text = f"""
maxconn 20000
timeouts 1 5 3600 3600 3600 3600 15 60
users {client.name}:CL:{client.token}
auth strong
allow *
parent 1000 connect 127.0.0.1 {place.far_end.auth} {_UPSTREAM_USER} {PROVIDER_PASSWORD}
proxy -i127.0.0.1 -p{place.port}
"""
    return Command([*tool.argv, place.write("3proxy.cfg", text)], tool.env)


def _gost(place: Place, tool: Tool) -> Command:
    client = place.clients[0]
    listen = f"http://{client.name}:{client.token}@127.0.0.1:{place.port}"
    forward = f"http://{_UPSTREAM_USER}:{PROVIDER_PASSWORD}@127.0.0.1:{place.far_end.auth}"
    return Command([*tool.argv, "-L", listen, "-F", forward], tool.env)


TINYPROXY: Final = Peer(
    key="tinyproxy",
    title="tinyproxy",
    as_run="one credential for all chips, one upstream login",
    cannot="no upstream login per chip, no metering, no limits",
    start=_tinyproxy,
    install=lambda cache: cache.debian("tinyproxy", "tinyproxy"),
    login="one",
)
SQUID: Final = Peer(
    key="squid",
    title="squid",
    as_run="no client auth (it would need a helper program), one upstream login",
    cannot="no upstream login per chip, bytes only in a log line at a tunnel's end, no byte limit",
    start=_squid,
    install=lambda cache: cache.debian("squid", "squid"),
    login="none",
)
PRIVOXY: Final = Peer(
    key="privoxy",
    title="privoxy",
    as_run="filters off; the chip's credential is passed on",
    cannot="no auth, no upstream login (chips hold the provider's password), no metering, no limits",
    start=_privoxy,
    install=lambda cache: cache.debian("privoxy", "privoxy", "--version"),
    login="upstream",
)
DANTE: Final = Peer(
    key="dante",
    title="dante (SOCKS5)",
    as_run="straight to the origin, no client auth",
    cannot="no upstream with a login, no metering per chip, no byte limit",
    start=_dante,
    install=lambda cache: cache.debian("dante-server", "danted"),
    mode="socks5",
    login="none",
    far_end="raw",
)
THREEPROXY: Final = Peer(
    key="3proxy",
    title="3proxy",
    as_run="one credential for all chips, one upstream login",
    cannot="upstream login per chip only by a rule each; counters per user in memory, written every so often",
    start=_threeproxy,
    install=lambda cache: cache.debian("3proxy", "3proxy"),
    login="one",
)
GOST: Final = Peer(
    key="gost",
    title="gost",
    as_run="one credential for all chips, one upstream login",
    cannot="no upstream login per chip, no byte limit",
    start=_gost,
    install=lambda cache: cache.debian("gost", "gost", "-V"),
    login="one",
)
