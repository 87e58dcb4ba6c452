"""After a run with every kind of secret: none of them in a log, a page, an answer, a file, or readable in a table.

Real processes write the logs: web, gateway and worker. Each secret is marked, so that finding it is a search for words.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import SECRET
from tests.e2e.seeding import PASSWORD, make_account, make_admin
from tests.receivers import Customer, customer
from tests.spine.conftest import GatewayProcess, wait_until
from tests.spine.wire import Refused, connect
from tests.web.api_setup import config
from tests.web.test_headers import asked, routes_of
from whago.domain.models import User
from whago.domain.models.sealing import SEALED_COLUMNS
from whago.domain.rules.totp import code_at, step_at
from whago.kit import clock
from whago.kit.db import driver_url
from whago.main.embedded import free_port
from whago.main.probes import http_answers
from whago.simulator import SimulatedProvider
from whago.web.app import create_app

pytestmark = pytest.mark.timeout(600)
PATIENCE_S = 240.0  # a busy machine takes minutes to start two processes
VENDOR = "marked-vendor-password-7431"
VENDOR_KEY = "marked-vendor-api-key-7431"
LISTED = "marked-listed-password-7431"
SMTP = "marked-smtp-password-7431"
BRIDGE = "marked-bridge-secret-7431-with-some-length"
GUESSED = "marked-guessed-password-7431"
WRONG = "marked-wrong-credential-7431"
FORWARDED = "marked-api-token-in-a-query-7431"


@dataclass
class Run:
    """The processes, what they said, and the secrets that came up. ``told``: every answer, by what was asked."""

    url: str
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)

    def ask(self, client: httpx.Client, method: str, path: str, *, shows: bool = False, **more: Any) -> httpx.Response:
        """``shows``: the one answer that gives a secret to its owner, which is not searched."""
        answer = client.request(method, self.url + path, **more)
        if not shows:
            self.told[f"{method} {path} {len(self.told)}"] = f"{answer.headers}\n{answer.text}"
        return answer

    def keep(self, name: str, secret: str) -> str:
        assert len(secret) >= 16, name
        self.secrets[name] = secret
        return secret

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.folder.glob("*.log"))


@pytest.fixture
def run(database: str, broker_url: str, tmp_path: Path) -> Iterator[Run]:
    """Web and worker, as an operator starts them; the gateway has a starter of its own."""
    port, folder = free_port(), tmp_path / "data"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")} | {
        "WHAGO_DATABASE_URL": database,
        "WHAGO_BROKER_URL": broker_url,
        "WHAGO_SECRET_KEY": SECRET,
        "WHAGO_DATA_DIR": str(folder),
        "WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1",
        "WHAGO_SMTP_URL": f"smtp://post:{SMTP}@127.0.0.1:{free_port()}",  # nobody answers: failures are told, too
        "WHAGO_BRIDGE_SECRET": BRIDGE,
        "WHAGO_BRIDGE_URL": f"http://127.0.0.1:{free_port()}",
        "WHAGO_LOG_FORMAT": "json",
    }
    parts = {"web": ["--port", str(port)], "worker": ["--status-port", "0"]}
    processes = []
    for part, arguments in parts.items():
        with (tmp_path / f"{part}.log").open("ab") as log:
            argv = [sys.executable, "-P", "-m", "whago", part, *arguments]
            processes.append(subprocess.Popen(argv, env=environment, stdout=log, stderr=log))
    built = Run(f"http://127.0.0.1:{port}", tmp_path)
    given = {"vendor": VENDOR, "vendor key": VENDOR_KEY, "listed": LISTED, "smtp": SMTP, "bridge": BRIDGE}
    built.secrets |= given | {"secret key": SECRET, "guessed": GUESSED, "wrong": WRONG, "query": FORWARDED}
    built.secrets |= {"password": PASSWORD, "database": str(conninfo_to_dict(driver_url(database))["password"])}
    try:
        wait_until(
            lambda: all(one.poll() is None for one in processes) and http_answers(f"{built.url}/readyz"), PATIENCE_S
        )
        yield built
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)


def test_no_secret_of_a_whole_run_is_found_anywhere(run: Run, database: str) -> None:
    admin, owner = make_admin(), make_account("business", email="otto@whago.example")
    with SimulatedProvider(accounts=[f"acme:{VENDOR}"]) as provider, customer() as receiver:
        boss, buyer = _signed_in(run, admin), _signed_in(run, owner)
        _administrate(run, boss, provider.port)
        chip = _own(run, buyer, receiver)
        _move_bytes(run, database, *chip)
        _fail(run, boss, buyer, owner)
        wait_until(lambda: bool(receiver.calls), PATIENCE_S)
        for client in (boss, buyer):
            _visit_everything(run, client, chip[0])
    _search(run, database)


def _signed_in(run: Run, user: User) -> httpx.Client:
    """Signed in with a second factor, so that its secret was seen by every part that handles it."""
    client = httpx.Client(timeout=60, headers={"Accept-Language": "en"})
    body = {"email": user.email, "password": PASSWORD}
    bearer = run.ask(client, "POST", "/api/v1/auth/login", shows=True, json=body).json()["tokens"]["access_token"]
    begun = run.ask(
        client, "POST", "/api/v1/auth/totp", shows=True, json={"current_password": PASSWORD}, headers=_csrf(client)
    )
    secret = run.keep(f"totp of {user.email}", begun.json()["secret"])
    code = code_at(secret, step_at(clock.now()))
    confirmed = run.ask(
        client, "POST", "/api/v1/auth/totp/confirm", shows=True, json={"totp": code}, headers=_csrf(client)
    )
    for number, recovery in enumerate(confirmed.json()["recovery_codes"]):
        run.keep(f"recovery code {number} of {user.email}", recovery)
    run.keep(f"access of {user.email}", bearer)
    run.keep(f"refresh of {user.email}", client.cookies["whago_refresh"])
    return client


def _csrf(client: httpx.Client) -> dict[str, str]:
    return {"X-CSRF-Token": client.cookies["whago_csrf"]}


def _administrate(run: Run, boss: httpx.Client, port: int) -> None:
    wanted = {
        "name": "Acme", "provider_type": "residential", "preset": "custom", "host": "127.0.0.1", "port": port,
        "protocol": "http", "username": "acme", "password": VENDOR, "api_key": VENDOR_KEY, "cost_per_gb": "25",
        "username_template": "{username}-session-{session}", "password_template": "{password}",
    }  # fmt: skip
    made = run.ask(boss, "POST", "/api/v1/admin/proxies/providers", json=wanted, headers=_csrf(boss))
    assert made.status_code == 201, made.text
    provider_id = made.json()["id"]
    rotating = {"provider_id": provider_id, "proxy_type": "rotating"}
    listed = {"provider_id": provider_id, "proxy_type": "static", "proxy_url": f"http://u:{LISTED}@127.0.0.1:{port}"}
    for wish in (rotating, listed):
        made = run.ask(boss, "POST", "/api/v1/admin/proxies/pool", json=wish, headers=_csrf(boss))
        assert made.status_code == 201, made.text
        run.ask(boss, "POST", f"/api/v1/admin/proxies/pool/{made.json()['id']}/test", headers=_csrf(boss))
    switched = f"/api/v1/admin/proxies/pool/{made.json()['id']}"
    run.ask(boss, "PUT", switched, json={"is_active": False}, headers=_csrf(boss))
    path = f"/api/v1/admin/proxies/providers/{provider_id}"
    run.ask(boss, "POST", f"{path}/test", headers=_csrf(boss))
    run.ask(boss, "PUT", path, json={"priority": 5, "password": VENDOR}, headers=_csrf(boss))
    for wrong in ({"port": VENDOR}, {"password": [VENDOR]}, {"name": "", "password": VENDOR}):
        assert run.ask(boss, "PUT", path, json=wrong, headers=_csrf(boss)).status_code == 422


def _own(run: Run, buyer: httpx.Client, receiver: Customer) -> tuple[str, str]:
    """The chip and its credential."""
    key = run.ask(buyer, "POST", "/api/v1/api-keys", shows=True, json={"name": "crm"}, headers=_csrf(buyer)).json()
    run.keep("api key", key["key"])
    run.ask(buyer, "GET", "/api/v1/chips", headers={"X-API-Key": key["key"]})
    hook = {"name": "crm", "url": receiver.url}
    made = run.ask(buyer, "POST", "/api/v1/user/channels/webhook", shows=True, json=hook, headers=_csrf(buyer))
    assert made.status_code == 201, made.text
    run.keep("webhook", made.json()["secret"])
    run.ask(buyer, "POST", f"/api/v1/user/channels/{made.json()['id']}/test", headers=_csrf(buyer))
    body = {"alias": "chip 1", "engine": "external"}
    made = run.ask(buyer, "POST", "/api/v1/chips", shows=True, json=body, headers=_csrf(buyer))
    assert made.status_code == 201, made.text
    url = httpx.URL(made.json()["gateway"]["proxy_url"])
    return made.json()["id"], run.keep("chip", url.password)


def _move_bytes(run: Run, database: str, chip_id: str, token: str) -> None:
    gateway = GatewayProcess(database, run.folder)
    gateway.start()
    try:
        with connect(gateway.port, chip_id, token, "media.whatsapp.net") as tunnel:
            assert len(tunnel.get("/bytes/2000")) == 2000
        with pytest.raises(Refused):
            connect(gateway.port, chip_id, WRONG, "media.whatsapp.net")
        with pytest.raises(Refused):
            connect(gateway.port, chip_id, token, "169.254.169.254")
    finally:
        gateway.stop()


def _fail(run: Run, boss: httpx.Client, buyer: httpx.Client, owner: User) -> None:
    """Refusals and errors, each with a secret in what was sent."""
    stranger = httpx.Client(timeout=60)
    login = "/api/v1/auth/login"
    run.ask(stranger, "POST", login, json={"email": owner.email, "password": GUESSED})
    run.ask(stranger, "POST", login, json={"email": GUESSED, "password": {"x": GUESSED}})
    run.ask(stranger, "POST", login, content=f'{{"password": "{GUESSED}"', headers={"Content-Type": "application/json"})
    run.ask(stranger, "GET", "/api/v1/chips", headers={"Authorization": f"Bearer {WRONG}", "X-API-Key": WRONG})
    run.ask(stranger, "GET", "/internal/bridge/nothing", headers={"Authorization": f"Bearer {WRONG}"})
    run.ask(stranger, "GET", f"/healthz?api_key={FORWARDED}")
    run.ask(stranger, "POST", "/api/v1/auth/forgot-password", json={"email": owner.email})  # the mail cannot go out
    body = {"current_password": GUESSED, "new_password": GUESSED + "-2"}
    run.ask(buyer, "POST", "/api/v1/auth/password", json=body, headers=_csrf(buyer))
    run.ask(boss, "POST", "/api/v1/admin/users", json={"email": "x", "password": GUESSED}, headers=_csrf(boss))


def _visit_everything(run: Run, client: httpx.Client, chip_id: str) -> None:
    """Every address that reads: pages, dialogs and the API."""
    listed = run.ask(client, "GET", "/api/v1/admin/proxies/providers").json().get("items", [])
    ids = {"chip_id": chip_id} | ({"provider_id": listed[0]["id"]} if listed else {})
    for method, path in sorted(set(routes_of(create_app(config())))):
        if method == "GET" and not path.startswith(("/internal", "/static")):
            for name, ident in ids.items():
                path = path.replace(f"{{{name}}}", ident)
            run.ask(client, "GET", asked(path))


def _search(run: Run, database: str) -> None:
    forms = {name: {secret, base64.b64encode(secret.encode()).decode()} for name, secret in run.secrets.items()}
    places = {**run.told, "logs": run.logs(), **_files(run.folder), **_tables(database)}
    assert len(run.told) > 150
    assert "web" in places["logs"]
    found = [
        (name, place)
        for place, text in places.items()
        for name, words in forms.items()
        if any(word in text for word in words)
    ]
    assert found == []


def _files(folder: Path) -> dict[str, str]:
    return {str(path): path.read_bytes().decode("latin-1") for path in folder.rglob("*") if path.is_file()}


def _tables(database: str) -> dict[str, str]:
    """Every row as text, as in a plain dump; and no sealed value where the rotation of keys would not find it."""
    sealed = {(one.table, one.content.key) for one in SEALED_COLUMNS}
    with psycopg.connect(driver_url(database)) as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1"
            )
        ]
        dumped = {}
        for name in names:
            rows = connection.execute(sql.SQL("SELECT to_jsonb(t), t::text FROM {} t").format(sql.Identifier(name)))
            lines = []
            for content, line in rows.fetchall():
                lines.append(line)
                odd = {key for key, value in content.items() if isinstance(value, dict) and "sealed" in value}
                assert {(name, key) for key in odd} <= sealed
            dumped[f"table {name}"] = "\n".join(lines)
    assert dumped["table proxy_providers"]
    return dumped
