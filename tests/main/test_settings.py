"""Settings: typed, and refused by name when unknown or bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from whago.errors import SettingsError
from whago.settings import SECRET_FILE_MAX_BYTES, SECRETS, Settings, load, without_files

ROOT = Path(__file__).parents[2]


def test_nothing_set_is_fine() -> None:
    assert load({"PATH": "/bin", "HOME": "/root"}) == Settings()


def test_an_empty_variable_means_not_set() -> None:
    assert load({"WHAGO_DATABASE_URL": ""}).database_url is None


def test_values_are_typed() -> None:
    settings = load(
        {
            "WHAGO_EGRESS_HOSTS": "origin.example, *.cdn.example",
            "WHAGO_EGRESS_PORTS": "8443,9000",
            "WHAGO_ALLOW_PRIVATE_UPSTREAMS": "1",
            "WHAGO_BILLING_TZ": "America/Manaus",
        }
    )
    assert settings.egress_hosts == ("origin.example", "*.cdn.example")
    assert settings.egress_ports == (8443, 9000)
    assert settings.allow_private_upstreams is True
    assert settings.tz.key == "America/Manaus"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHAGO_DATABSE_URL", "postgresql://localhost/whago"),
        ("WHAGO_DATABASE_URL", "mysql://localhost/whago"),
        ("WHAGO_BROKER_URL", "amqp://localhost"),
        ("WHAGO_BILLING_TZ", "Brasilia"),
        ("WHAGO_BILLING_TZ", "../../etc/passwd"),
        ("WHAGO_EGRESS_PORTS", "443,70000"),
        ("WHAGO_EGRESS_PORTS", "https"),
        ("WHAGO_ALLOW_PRIVATE_UPSTREAMS", "perhaps"),
        ("WHAGO_GATEWAY_PORT", "0"),
        ("WHAGO_LOG_FORMAT", "xml"),
        ("WHAGO_OTLP_ENDPOINT", "collector:4317"),
        ("WHAGO_SECRET_KEY", "short-and-secret"),
        ("WHAGO_SMTP_URL", "https://otto:short-and-secret@mail.example.com"),
        ("WHAGO_MAIL_FROM", "nobody"),
    ],
)
def test_what_is_unknown_or_bad_is_named_and_no_secret_is_repeated(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load({name: value})
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "short-and-secret" not in str(refused.value)


def test_the_example_lists_every_setting() -> None:
    example = (ROOT / ".env.example").read_text()
    missing = [name for name in Settings.model_fields if f"# WHAGO_{name.upper()}=" not in example]
    assert missing == []


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40 + "\n")
    (tmp_path / "database").write_text("postgresql://whago:pass@db/whago\r\n")
    settings = load(
        {
            "WHAGO_SECRET_KEY_FILE": str(tmp_path / "key"),
            "WHAGO_DATABASE_URL_FILE": str(tmp_path / "database"),
            "WHAGO_SMTP_URL_FILE": "",
        }
    )
    assert settings.secret_key is not None
    assert settings.secret_key.get_secret_value() == "k" * 40
    assert settings.database_url == "postgresql://whago:pass@db/whago"
    assert settings.smtp_url is None


def test_every_secret_may_come_from_a_file_and_nothing_else_may(tmp_path: Path) -> None:
    secret_fields = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secret_fields | {"database_url", "broker_url"} == SECRETS
    (tmp_path / "tz").write_text("America/Manaus")
    with pytest.raises(SettingsError, match="WHAGO_BILLING_TZ_FILE"):
        load({"WHAGO_BILLING_TZ_FILE": str(tmp_path / "tz")})


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"x" * (SECRET_FILE_MAX_BYTES + 1)])
def test_a_file_that_holds_no_secret_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(SettingsError, match=r"WHAGO_BRIDGE_SECRET_FILE.*secret"):
        load({"WHAGO_BRIDGE_SECRET_FILE": str(tmp_path / "secret")})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"WHAGO_BROKER_URL_FILE.*missing.*No such file"):
        load({"WHAGO_BROKER_URL_FILE": str(tmp_path / "missing")})


def test_a_bad_value_out_of_a_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short-and-secret")
    with pytest.raises(SettingsError) as refused:
        load({"WHAGO_SECRET_KEY_FILE": str(tmp_path / "key")})
    assert "WHAGO_SECRET_KEY" in str(refused.value)
    assert "short-and-secret" not in str(refused.value)


def test_a_secret_given_both_ways_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40)
    with pytest.raises(SettingsError, match="WHAGO_SECRET_KEY_FILE are both set"):
        load({"WHAGO_SECRET_KEY": "j" * 40, "WHAGO_SECRET_KEY_FILE": str(tmp_path / "key")})


def test_parts_of_up_inherit_the_content_and_not_the_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 40)
    given = {"PATH": "/bin", "WHAGO_SECRET_KEY_FILE": str(tmp_path / "key")}
    assert without_files(given) == {"PATH": "/bin", "WHAGO_SECRET_KEY": "k" * 40}
