"""Every setting of the product: typed, from ``WHAGO_…`` variables, refused by name when unknown or bad."""

from __future__ import annotations

import os
from collections.abc import Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from whago.errors import SettingsError
from whago.kit import broker

PREFIX = "WHAGO_"
FILE_SUFFIX = "_FILE"
SECRET_MIN_CHARS = 32
SECRET_FILE_MAX_BYTES = 65_536  # a secret is a line; whoever names a log or a device is told so


class Settings(BaseModel):
    """One field per variable: ``database_url`` is ``WHAGO_DATABASE_URL``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_url: str | None = None
    broker_url: str | None = None
    secret_key: SecretStr | None = None
    secret_key_previous: tuple[SecretStr, ...] = ()  # still able to decrypt while keys are rotated
    data_dir: Path | None = None
    start_wait_s: float = Field(default=60.0, ge=0, le=3600)  # for a database or broker that comes up after us
    database_connections: int | None = Field(default=None, ge=5, le=500)  # of one process at most; None: its own usual

    admin_email: str | None = None
    admin_password: SecretStr | None = None

    billing_tz: str = "America/Sao_Paulo"
    egress_hosts: tuple[str, ...] = ()
    egress_ports: tuple[int, ...] = ()
    allow_private_upstreams: bool = False

    smtp_url: SecretStr | None = None  # without one, e-mails go to a folder beside the data
    mail_from: str = "WHAGO <whago@localhost>"
    public_url: str | None = None
    cookie_secure: bool | None = None  # None: follows the scheme of public_url
    trusted_proxies: str = "127.0.0.1"
    require_admin_totp: bool = False  # of every role of the house; off, so that the first administrator can come in

    gateway_public_host: str | None = None  # host[:port] that chips dial
    gateway_port: int = Field(default=3128, ge=1, le=65535)
    gateway_drain_s: float = Field(default=5.0, ge=0, le=3600)  # how long running tunnels may go on after SIGTERM

    bridge_url: str | None = None
    bridge_secret: SecretStr | None = None
    backend_url: str = "http://127.0.0.1:8000"  # where the bridge sends its events

    failover_grace_s: float = Field(default=30.0, ge=0, le=3600)  # how long a chip is held whose exit is gone
    rotations_per_day: int = Field(default=10, ge=0, le=1000)  # of one chip by its owner
    probe_mb_per_day: int = Field(default=50, ge=0, le=1_000_000)  # health probes of our own; the house pays them

    simulator_admin_url: str | None = None
    ledger_months: int = Field(default=13, ge=2, le=1200)  # kept in the database, the running one included

    log_format: Literal["json", "console"] = "console"
    otlp_endpoint: str | None = None  # an OpenTelemetry collector; without one nothing is traced

    @field_validator("egress_hosts", "egress_ports", "secret_key_previous", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("billing_tz")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError("is not a time zone of the IANA database, such as America/Sao_Paulo") from error
        return value

    @field_validator("egress_ports")
    @classmethod
    def _ports(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 1 <= port <= 65535 for port in value):
            raise ValueError("holds a port outside 1 to 65535")
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SECRET_MIN_CHARS:
            raise ValueError(f"needs at least {SECRET_MIN_CHARS} characters")
        return value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
            raise ValueError("must be a PostgreSQL URL: postgresql://user:password@host/name")
        return value

    @field_validator("broker_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://")):
            raise ValueError("must be a Redis or Valkey URL: redis://:password@host:6379/0")
        if value is not None and (wrong := broker.complaint(value)):
            raise ValueError(wrong)
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must be an OTLP endpoint over HTTP, such as http://collector:4318")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _mail_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("smtp://", "smtps://")):
            raise ValueError("must be smtp://user:password@host:587 or smtps://user:password@host:465")
        return value

    @field_validator("mail_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1] or not value.isprintable():
            raise ValueError("must be an address such as alerts@example.com or WHAGO <alerts@example.com>")
        return value

    @property
    def probe_bytes_per_day(self) -> int:
        return self.probe_mb_per_day * 10**6

    @property
    def tz(self) -> ZoneInfo:
        return ZoneInfo(self.billing_tz)


SECRETS = frozenset(  # may come from a file: what is secret, and the addresses that carry a password
    {
        "database_url",
        "broker_url",
        "secret_key",
        "secret_key_previous",
        "admin_password",
        "smtp_url",
        "bridge_secret",
    }
)


def without_files(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` with the content of its secret files: ``WHAGO_SECRET_KEY_FILE=path`` becomes ``WHAGO_SECRET_KEY``.

    Raises SettingsError for a file that cannot be read, and for a secret that is given both ways.
    """
    found = dict(environ)
    for field in sorted(SECRETS):
        name = PREFIX + field.upper()
        path = found.pop(name + FILE_SUFFIX, "")
        if not path:
            continue
        if found.get(name):
            raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set: leave one of them out.")
        found[name] = _secret_in(name + FILE_SUFFIX, Path(path))
    return found


def _secret_in(name: str, path: Path) -> str:
    """The file's text without the line's end."""
    try:
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_MAX_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{name}: {path} cannot be read ({error.strerror}).") from None
    if len(content) > SECRET_FILE_MAX_BYTES:
        raise SettingsError(f"{name}: {path} is longer than {SECRET_FILE_MAX_BYTES} bytes: it holds no secret.")
    try:
        secret = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError(f"{name}: {path} is not a text in UTF-8.") from None
    if not secret:
        raise SettingsError(f"{name}: {path} is empty.")
    return secret


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment. Raises SettingsError with a sentence that names the variable."""
    source = without_files(os.environ if environ is None else environ)
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in source.items()
        if name.startswith(PREFIX) and value != ""
    }
    unknown = sorted(set(given) - set(Settings.model_fields))
    if unknown:
        raise SettingsError(f"Unknown setting {PREFIX}{unknown[0].upper()}: see .env.example for the ones that exist.")
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        raise SettingsError(f"{name}: {first['msg'].removeprefix('Value error, ')}.") from None
