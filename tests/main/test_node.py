"""The bridge's modules: when they must be installed, and the settings that the bridge gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whago.errors import SettingsError
from whago.main import node
from whago.main.bridge import Place, bridge_environment
from whago.main.leash import StartError
from whago.settings import load

SECRET = "a-shared-secret-of-enough-characters"


@pytest.fixture
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(node, "BRIDGE_DIR", tmp_path)
    (tmp_path / "package-lock.json").write_text("{}")
    return tmp_path


def installed(bridge: Path, *, dev: bool) -> None:
    (bridge / "node_modules" / ("typescript" if dev else "baileys")).mkdir(parents=True)
    (bridge / "node_modules" / ".package-lock.json").write_text("{}")


def test_node_is_new_enough_for_typescript() -> None:
    assert node.node_version(node.node_binary()) >= node.OLDEST_NODE


def test_nothing_installed_is_not_current(bridge: Path) -> None:
    assert not node.modules_are_current()


def test_an_install_that_was_killed_is_not_current(bridge: Path) -> None:
    (bridge / "node_modules" / "baileys").mkdir(parents=True)
    assert not node.modules_are_current()


@pytest.mark.parametrize(("dev", "for_running", "for_development"), [(False, True, False), (True, True, True)])
def test_modules_for_development_do_for_running(
    bridge: Path, dev: bool, for_running: bool, for_development: bool
) -> None:
    installed(bridge, dev=dev)
    assert (node.modules_are_current(), node.modules_are_current(dev=True)) == (for_running, for_development)


def test_modules_older_than_the_lock_file_are_not_current(bridge: Path) -> None:
    installed(bridge, dev=False)
    newer = (bridge / "node_modules" / ".package-lock.json").stat().st_mtime + 10
    os.utime(bridge / "package-lock.json", (newer, newer))
    assert not node.modules_are_current()


def test_a_failing_npm_is_told_in_a_sentence(bridge: Path) -> None:
    (bridge / "package-lock.json").write_text("not json")
    with pytest.raises(StartError, match="npm could not install the bridge's modules"):
        node.install_modules()


def test_a_missing_bridge_is_told_in_a_sentence(bridge: Path) -> None:
    (bridge / "package-lock.json").unlink()
    with pytest.raises(StartError, match="run from a complete checkout"):
        node.install_modules()


def test_the_bridge_gets_its_settings_under_its_own_names() -> None:
    settings = load(
        {
            "WHAGO_BRIDGE_URL": "http://127.0.0.1:4000",
            "WHAGO_BRIDGE_SECRET": SECRET,
            "WHAGO_BACKEND_URL": "http://127.0.0.1:9000/",
            "WHAGO_GATEWAY_PORT": "3999",
        }
    )
    told = bridge_environment(settings, Place())
    assert told["BRIDGE_HOST"] == "127.0.0.1"
    assert told["BRIDGE_PORT"] == "4000"
    assert told["BRIDGE_SECRET"] == SECRET
    assert told["BRIDGE_GATEWAY"] == "127.0.0.1:3999"
    assert told["BRIDGE_BACKEND_URL"] == "http://127.0.0.1:9000"


def test_the_second_bridge_of_a_machine_has_a_place_of_its_own() -> None:
    settings = load({"WHAGO_BRIDGE_URL": "http://10.0.0.5:4000", "WHAGO_BRIDGE_SECRET": SECRET})
    told = bridge_environment(settings, Place("0.0.0.0", 4001, "http://bridges.internal:4001", 50))
    assert (told["BRIDGE_HOST"], told["BRIDGE_PORT"], told["BRIDGE_MAX_CHIPS"]) == ("0.0.0.0", "4001", "50")
    assert told["BRIDGE_PUBLIC_URL"] == "http://bridges.internal:4001"


def test_a_public_gateway_host_may_carry_its_port() -> None:
    shared = {"WHAGO_BRIDGE_SECRET": SECRET}
    with_port = load({**shared, "WHAGO_GATEWAY_PUBLIC_HOST": "gw.example.com:443"})
    without = load({**shared, "WHAGO_GATEWAY_PUBLIC_HOST": "gw.example.com"})
    assert bridge_environment(with_port, Place())["BRIDGE_GATEWAY"] == "gw.example.com:443"
    assert bridge_environment(without, Place())["BRIDGE_GATEWAY"] == "gw.example.com:3128"


def test_a_bridge_without_its_secret_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="WHAGO_BRIDGE_SECRET"):
        bridge_environment(load({}), Place())
