"""``whago doctor`` against production: servers, migrations, clocks, gateways, bridges, mail, keys, room."""

from __future__ import annotations

import shutil
import smtplib
import stat
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
from alembic.script import ScriptDirectory
from redis import Redis
from redis.exceptions import RedisError

from whago.domain.actions.alert_checks import GATEWAY_SILENT_AFTER, SCHEDULER_SILENT_AFTER
from whago.domain.models.sealing import SEALED_COLUMNS
from whago.domain.queries.installation import ServerFacts, missing_partitions, server_clock, server_facts
from whago.domain.queries.machinery import bridges_now
from whago.domain.queries.sealing import look_at_seals
from whago.domain.queries.system import gateways, last_beat
from whago.domain.rules.months import billing_month, next_month
from whago.errors import SettingsError, WhagoError
from whago.kit import broker, clock, db
from whago.kit.crypto import Vault
from whago.main.data_folder import default_data_dir
from whago.main.findings import Finding, Verdict, open_files
from whago.main.leash import StartError
from whago.main.migrate import MINIMUM_SERVER, alembic_config
from whago.main.post import mailer_of
from whago.main.reach import nearest_folder
from whago.main.secret import FILE_NAME, secret_keys
from whago.main.servers import wait_for_broker, wait_for_database
from whago.notify.email import SmtpMailer
from whago.settings import Settings

OLDEST_REDIS: Final = 7
SKEW_NOTE: Final = timedelta(seconds=2)  # what NTP keeps with ease
SKEW_WRONG: Final = timedelta(seconds=30)  # signatures, leases and months are judged by these clocks
MONTHS_AHEAD: Final = 2  # of partitions: the clock makes three, so that one missing is not yet urgent
CROWDED: Final = 0.8  # of the server's connections
ENOUGH_FILES: Final = 65_536  # 10,000 tunnels of a gateway process, and bursts
FILES_REMEDY: Final = (
    f"A gateway needs two for each tunnel: LimitNOFILE={2 * ENOUGH_FILES} in its unit, nofile in compose.yaml."
)
LOW_DISK_SHARE: Final = 0.1
LOW_DISK_BYTES: Final = 5_000_000_000
HTTP_S: Final = 5.0
SOME_ROWS: Final = 50  # of each sealed column: a wrong key opens none of them


def examine_installation(settings: Settings, database_url: str, data: Path | None) -> Iterator[Finding]:
    """Every finding, servers first: what needs the database is left out while that is away."""
    yield Finding("Settings", Verdict.OK, "every WHAGO_ variable is known")
    folder = (data or settings.data_dir or default_data_dir()).expanduser().absolute()
    yield from _database(settings.model_copy(update={"data_dir": folder}), database_url)
    yield _broker(settings)
    yield _secret_key(settings, folder)
    yield _backend(settings)
    yield _public_url(settings)
    yield _mail(settings)
    yield _private_upstreams(settings)
    yield _disk(folder)
    yield open_files(ENOUGH_FILES, FILES_REMEDY)


def _database(settings: Settings, database_url: str) -> Iterator[Finding]:
    try:
        wait_for_database(database_url, 0.0)
    except (SettingsError, StartError) as error:
        remedy = "Start PostgreSQL, and see that its address, pg_hba.conf and the firewall let this machine in."
        yield Finding("Database", Verdict.MISSING, str(error), remedy)
        return
    engine = db.connect(database_url, pool_size=1)
    try:
        facts = server_facts()
        yield from _server(facts)
        yield _clock()
        yield from _inside(settings) if facts.revision == _head() else [_not_migrated(facts)]
    except WhagoError as error:
        yield Finding("Database", Verdict.MISSING, f"it stopped answering ({error.code})", "Look into its log.")
    finally:
        engine.dispose()


def _server(facts: ServerFacts) -> Iterator[Finding]:
    found = f"PostgreSQL {facts.version}, {facts.size_bytes / 1e9:.1f} GB"
    if facts.version_num < MINIMUM_SERVER:
        yield Finding("Database", Verdict.MISSING, found, "PostgreSQL 15 or newer is needed.")
    else:
        yield Finding("Database", Verdict.OK, found)
    if facts.tls or facts.is_local:
        yield Finding("Database TLS", Verdict.OK, facts.tls or "not needed: it is on this machine")
    else:
        remedy = "Add ?sslmode=verify-full&sslrootcert=/path/ca.crt to WHAGO_DATABASE_URL."
        yield Finding("Database TLS", Verdict.NOTE, "what goes to the database can be read on the way", remedy)
    used = f"{facts.connections} of {facts.max_connections} in use"
    if facts.connections > facts.max_connections * CROWDED:
        remedy = "Raise max_connections, or lower WHAGO_DATABASE_CONNECTIONS of each process."
        yield Finding("Connections", Verdict.NOTE, used, remedy)
    else:
        yield Finding("Connections", Verdict.OK, used)


def _not_migrated(facts: ServerFacts) -> Finding:
    found = f"the database is at {facts.revision or 'nothing'}, this version needs {_head()}"
    return Finding("Migrations", Verdict.MISSING, found, "Run whago migrate, before anything of this version starts.")


def _head() -> str | None:
    return ScriptDirectory.from_config(alembic_config(None)).get_current_head()


def _clock() -> Finding:
    """The server's answer lies between two looks at our clock; what is outside of them is skew."""
    before = clock.now()
    theirs = server_clock()
    after = clock.now()
    skew = max(before - theirs, theirs - after, timedelta(0))
    found = f"{skew.total_seconds():.1f} s apart from the database"
    if skew <= SKEW_NOTE:
        return Finding("Clock", Verdict.OK, found)
    verdict = Verdict.MISSING if skew > SKEW_WRONG else Verdict.NOTE
    return Finding("Clock", verdict, found, "Let chrony or systemd-timesyncd keep both: docs/runbook/clock-wrong.md.")


def _inside(settings: Settings) -> Iterator[Finding]:
    now = clock.now()
    yield Finding("Migrations", Verdict.OK, f"at {_head()}")
    yield _partitions(settings, now)
    yield _sealed(settings)
    yield _beat(now)
    yield _gateways(now)
    yield _bridges(now)


def _partitions(settings: Settings, now: datetime) -> Finding:
    months = [billing_month(now, settings.tz)]
    for _ in range(MONTHS_AHEAD):
        months.append(next_month(months[-1]))
    missing = missing_partitions(months)
    if not missing:
        return Finding("Ledger", Verdict.OK, f"has its months up to {months[-1]:%Y-%m} ({settings.billing_tz})")
    found = "has no partition for " + ", ".join(f"{month:%Y-%m}" for month in missing)
    return Finding("Ledger", Verdict.MISSING, found, "Run whago migrate, and see that the worker's clocks tick.")


def _sealed(settings: Settings) -> Finding:
    """Whether the secret key opens what the database holds under it."""
    if settings.secret_key is None and not (settings.data_dir or default_data_dir()).joinpath(FILE_NAME).exists():
        return Finding("Sealed rows", Verdict.NOTE, "not looked at: there is no secret key here")
    try:
        vault = Vault(secret_keys(settings))
    except StartError as error:
        return Finding("Sealed rows", Verdict.MISSING, str(error), "See docs/runbook/secret-key.md.")
    looks = [look_at_seals(column, None, vault=vault, limit=SOME_ROWS) for column in SEALED_COLUMNS]
    shut, old = sum(len(look.shut) for look in looks), sum(len(look.old) for look in looks)
    if shut:
        found = f"{shut} of {sum(look.rows for look in looks)} that were looked at do not open with this secret key"
        return Finding("Sealed rows", Verdict.MISSING, found, "Put the right key back: docs/runbook/secret-key.md.")
    if old:
        return Finding("Sealed rows", Verdict.NOTE, "some are under an earlier key", "Run whago rotate-keys.")
    return Finding("Sealed rows", Verdict.OK, "open with the secret key")


def _beat(now: datetime) -> Finding:
    beat = last_beat()
    if beat is not None and now - beat <= SCHEDULER_SILENT_AFTER:
        return Finding("Scheduler", Verdict.OK, f"ticked {_ago(beat, now)} ago")
    found = f"last ticked {_ago(beat, now)} ago" if beat else "has never ticked"
    return Finding(
        "Scheduler", Verdict.MISSING, found, "Start whago worker, or whago beat: docs/runbook/broker-gone.md."
    )


def _gateways(now: datetime) -> Finding:
    known = gateways()
    fresh = [one for one in known if now - one.last_seen_at <= GATEWAY_SILENT_AFTER]
    silent = [one for one in known if one not in fresh and one.stopped_at is None]
    if silent:
        names = ", ".join(f"{one.host}:{one.port} ({_ago(one.last_seen_at, now)})" for one in silent)
        return Finding("Gateways", Verdict.NOTE, f"silent: {names}", "See docs/runbook/gateway-silent.md.")
    if not fresh:
        return Finding("Gateways", Verdict.MISSING, "none runs", "Start whago gateway: without one no chip leaves.")
    tunnels = sum(one.open_tunnels for one in fresh)
    return Finding("Gateways", Verdict.OK, f"{len(fresh)} processes, {tunnels} tunnels")


def _bridges(now: datetime) -> Finding:
    known = bridges_now(now=now)
    fresh = [one for one in known if one.is_fresh]
    if fresh:
        return Finding("Bridges", Verdict.OK, f"{len(fresh)} processes, {sum(one.holds for one in fresh)} chips")
    found = "the known ones are silent" if known else "none runs"
    return Finding("Bridges", Verdict.NOTE, found, "Start whago bridge, unless all chips bring an engine of their own.")


def _broker(settings: Settings) -> Finding:
    url = settings.broker_url
    if url is None:
        return Finding("Broker", Verdict.MISSING, "WHAGO_BROKER_URL is not set", "Name a Redis 7 or a Valkey.")
    try:
        wait_for_broker(url, 0.0)
        version = _broker_version(url)
    except (SettingsError, StartError, RedisError) as error:
        return Finding("Broker", Verdict.MISSING, str(error), "Start it: docs/runbook/broker-gone.md.")
    if int(version.partition(".")[0] or 0) < OLDEST_REDIS:
        return Finding("Broker", Verdict.MISSING, f"version {version}", "Redis 7 or a Valkey is needed.")
    if urlsplit(url).scheme != "rediss" and not _is_here(urlsplit(url).hostname):
        return Finding("Broker", Verdict.NOTE, f"version {version}, without TLS", "Use rediss:// or a private network.")
    return Finding("Broker", Verdict.OK, f"version {version}")


def _broker_version(url: str) -> str:
    client = Redis.from_url(broker.without_tls(url), socket_timeout=HTTP_S, **(broker.tls_options(url) or {}))
    try:
        told = client.info("server")
        return str(told.get("valkey_version") or told.get("redis_version") or "")
    finally:
        client.close()


def _is_here(host: str | None) -> bool:
    return host in (None, "localhost", "::1") or str(host).startswith("127.")


def _secret_key(settings: Settings, folder: Path) -> Finding:
    path = folder / FILE_NAME
    if settings.secret_key is not None:
        return Finding("Secret key", Verdict.OK, "given by WHAGO_SECRET_KEY")
    if not path.exists():
        remedy = "Give every machine the same one: WHAGO_SECRET_KEY_FILE=/etc/whago/secrets/secret_key."
        return Finding("Secret key", Verdict.MISSING, "none is set, and each machine would make one of its own", remedy)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return Finding("Secret key", Verdict.MISSING, f"{path} can be read by others", f"Run: chmod 600 {path}")
    return Finding(
        "Secret key", Verdict.NOTE, f"kept in {path}", "Set WHAGO_SECRET_KEY_FILE when there are more machines."
    )


def _backend(settings: Settings) -> Finding:
    url = settings.backend_url.rstrip("/") + "/readyz"
    try:
        answer = httpx.get(url, timeout=HTTP_S, trust_env=False)
    except httpx.HTTPError as error:
        remedy = "Start whago web, or set WHAGO_BACKEND_URL to where it is: bridges look for it there."
        return Finding("Web", Verdict.NOTE, f"{url} does not answer ({type(error).__name__})", remedy)
    if answer.status_code != httpx.codes.OK:
        return Finding(
            "Web", Verdict.MISSING, f"{url} answers {answer.status_code}", "Its body says which part is away."
        )
    return Finding("Web", Verdict.OK, f"{url} is ready")


def _public_url(settings: Settings) -> Finding:
    if settings.public_url and urlsplit(settings.public_url).scheme == "https":
        return Finding("Public URL", Verdict.OK, settings.public_url)
    remedy = "Set WHAGO_PUBLIC_URL=https://… and put a proxy with TLS in front: deploy/proxy/."
    return Finding("Public URL", Verdict.NOTE, settings.public_url or "not set", remedy)


def _mail(settings: Settings) -> Finding:
    try:
        mailer = mailer_of(settings)
    except SettingsError as error:
        return Finding("Mail", Verdict.MISSING, str(error), "Correct it.")
    if not isinstance(mailer, SmtpMailer):
        return Finding("Mail", Verdict.NOTE, "no server: letters are files", "Set WHAGO_SMTP_URL.")
    began = time.monotonic()
    try:
        mailer.try_login()
    except (OSError, smtplib.SMTPException) as error:
        return Finding(
            "Mail", Verdict.MISSING, f"the server refuses or is away ({type(error).__name__})", "See its log."
        )
    return Finding("Mail", Verdict.OK, f"the server lets us in ({time.monotonic() - began:.1f} s)")


def _private_upstreams(settings: Settings) -> Finding:
    if not settings.allow_private_upstreams:
        return Finding("Private upstreams", Verdict.OK, "refused")
    remedy = "Unset WHAGO_ALLOW_PRIVATE_UPSTREAMS, unless your proxies are on this network."
    return Finding("Private upstreams", Verdict.NOTE, "allowed", remedy)


def _disk(folder: Path) -> Finding:
    nearest = nearest_folder(folder)
    usage = shutil.disk_usage(nearest)
    found = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB free at {nearest}"
    if usage.free < LOW_DISK_BYTES or usage.free < usage.total * LOW_DISK_SHARE:
        return Finding("Disk", Verdict.NOTE, found, "Make room: docs/runbook/disk-full.md.")
    return Finding("Disk", Verdict.OK, found)


def _ago(then: datetime, now: datetime) -> str:
    return f"{max((now - then).total_seconds(), 0):.0f} s"
