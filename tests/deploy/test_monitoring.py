"""What dashboard, alert rules and scrape targets name does exist: asked of the running processes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.deploy.composition import ROOT, composition
from tests.deploy.conftest import Running, program_of
from whago.gateway.protocol.refusal import REFUSALS
from whago.main.file_checkers import PROMTOOL
from whago.tasks.table import all_clocks

DEPLOY: Final = ROOT / "deploy"
METRIC: Final = re.compile(r"\b(?:whago|process)_\w+")
PARTS_OF: Final = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
UNDECLARED: Final = {"too_many_handshakes"}  # counted where there is nobody to answer

pytestmark = pytest.mark.timeout(900)  # the set-up waits for six processes, on a machine that may be busy


def alerts() -> list[dict[str, Any]]:
    content = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [
        one for one in json.loads((DEPLOY / "grafana" / "whago.json").read_text())["panels"] if one["type"] != "row"
    ]


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule["alert"], rule["expr"]) for rule in alerts())
    yield from ((panel["title"], target["expr"]) for panel in panels() for target in panel["targets"])


def exported(running: Running) -> set[str]:
    found: set[str] = set()
    for port in ("8000", "9128", "9148", "9149", "3130"):
        text = httpx.get(f"http://127.0.0.1:{running.machine.ports[port]}/metrics").raise_for_status().text
        for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
            found |= {name + suffix for suffix in PARTS_OF.get(kind, ("",))}
    return found


def test_every_metric_that_is_named_is_exported(running: Running) -> None:
    there = exported(running)
    named = {(where, metric) for where, expression in expressions() for metric in METRIC.findall(expression)}
    assert {metric for _, metric in named} > {"whago_gateway_tunnels", "whago_bridge_chips", "whago_web_requests_total"}
    assert sorted(one for one in named if one[1] not in there) == []


def test_every_metric_of_ours_is_on_the_dashboard(running: Running) -> None:
    shown = {metric for panel in panels() for target in panel["targets"] for metric in METRIC.findall(target["expr"])}
    stems = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in shown}
    ours = {re.sub(r"_(bucket|sum|count|total|created)$", "", name) for name in exported(running) if "whago" in name}
    assert sorted(ours - stems - {"whago_bridge_requests"}) == []


def test_refusals_and_clocks_that_are_named_do_exist() -> None:
    reasons, clocks = {*REFUSALS, *UNDECLARED}, {one.name for one in all_clocks()}
    for where, expression in expressions():
        for name, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', expression):
            known = {"reason": reasons, "clock": clocks}.get(name)
            if known is not None:
                pattern = value if operator == "=~" else re.escape(value)
                assert any(re.fullmatch(pattern, each) for each in known), (where, name, value)


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith(".")
        assert (ROOT / rule["annotations"]["runbook"]).exists(), rule["annotations"]["runbook"]


def test_every_panel_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["description"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_prometheus_scrapes_the_services_of_the_composition_at_their_ports() -> None:
    content = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    services = composition()["services"]
    scraped = {
        target for job in content["scrape_configs"] for entry in job["static_configs"] for target in entry["targets"]
    }
    expected = {
        f"{name}:{services[name]['healthcheck']['test'][-1]}" for name in ("web", "gateway", "worker", "beat", "bridge")
    }
    assert expected <= scraped
    assert scraped - expected == {"gateway:9129"}, "the second of two gateway processes"
    assert content["rule_files"] == ["alerts.yml"]


def test_prometheus_itself_takes_the_files() -> None:
    for check in (["rules", "alerts.yml"], ["config", "prometheus.yml"]):
        subprocess.run([program_of(PROMTOOL), "check", *check], cwd=DEPLOY / "prometheus", check=True)
