"""Settings: typed, and refused by name when unknown or bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from whago.errors import SettingsError
from whago.settings import Settings, load

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
