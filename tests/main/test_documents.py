"""Documents do not speak of what is not there: links, settings, commands, alerts and tests that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from whago.main.cli import app
from whago.settings import PREFIX, SECRETS, Settings

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {".venv", ".tools", "node_modules", ".git", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis"}
LINK = re.compile(r"\[[^\]\n]*\]\(([^()\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
COMMAND = re.compile(r"\bwhago ([a-z][a-z-]+)")
COMPOSE_ONLY = {"VERSION", "GATEWAY_PUBLIC_NAME"}  # variables of compose.yaml


def documents() -> list[Path]:
    found = [path for path in ROOT.rglob("*.md") if not ELSEWHERE & set(path.relative_to(ROOT).parts)]
    return sorted(found)


def prose_links(path: Path) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    yield from LINK.findall(text)


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in prose_links(path):
        if "://" in link or link.startswith("mailto:"):
            continue
        target, _, heading = link.partition("#")
        aim = (path.parent / target).resolve() if target else path
        assert aim.exists(), link
        if heading and aim.suffix == ".md":
            assert heading in headings(aim), link


def headings(path: Path) -> set[str]:
    """As GitHub makes anchors of them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_setting_that_is_named_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    known |= {f"{PREFIX}{name.upper()}_FILE" for name in SECRETS} | {PREFIX + name for name in COMPOSE_ONLY}
    for path in [*documents(), *(ROOT / "deploy").rglob("*.*"), ROOT / "compose.yaml", ROOT / "Dockerfile"]:
        named = set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b(?!…|\*)", path.read_text()))
        assert named <= known, (path, named - known)


def test_every_command_that_is_named_in_code_exists() -> None:
    known = {command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands}
    assert "doctor" in known
    for path in documents():
        named = {name for code in CODE.findall(path.read_text()) for name in COMMAND.findall(code)}
        assert named <= known, (path, named - known)


def test_every_test_that_a_document_points_to_exists() -> None:
    for path in documents():
        for name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", path.read_text()):
            file = ROOT / name[0]
            assert file.exists(), (path, name)
            assert not name[1] or f"def {name[1]}(" in file.read_text(), (path, name)


MEASURED = {  # title in the READMEs: key of the peer in the benchmark's results
    "**WHAGO**": "ours",
    "HAProxy": "haproxy",
    "squid": "squid",
    "dante": "dante",
    "tinyproxy": "tinyproxy",
    "proxy-chain": "proxy-chain",
    "pproxy": "pproxy",
    "proxy.py": "proxy.py",
    "mitmproxy": "mitmproxy",
}
FIGURES = {"bulk_cpu_s_per_gb": 2, "setups_per_s": 0, "echo_p50_us": 0, "echo_p99_us": 0, "idle_kib": 1}


@pytest.mark.parametrize("name", ["README.md", "README.pt-BR.md"])
def test_the_gateways_figures_are_those_of_the_benchmarks_own_table(name: str) -> None:
    results = json.loads((ROOT / "benchmarks" / "gateway" / "results.json").read_text())
    medians = {peer["key"]: peer["medians"] for peer in results["peers"]}
    text = (ROOT / name).read_text()
    if name == "README.pt-BR.md":
        text = text.translate(str.maketrans(",.", ".,"))
    for title, key in MEASURED.items():
        figures = [f"{medians[key][figure]:,.{digits}f}" for figure, digits in FIGURES.items()]
        assert " | ".join(["", *figures, ""]) in row_of(text, title), title


def row_of(text: str, title: str) -> str:
    rows = [line for line in text.splitlines() if line.replace(",", ".").startswith(f"| {title} ")]
    assert len(rows) == 1, title
    return rows[0]
