"""Every test that a runbook names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
RUNBOOKS = sorted((ROOT / "docs/runbook").glob("*.md"))


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_what_a_runbook_says_is_tested_where_it_says(page: Path) -> None:
    missing = [
        f"{file}::{test}"
        for file, test in NAMED.findall(page.read_text())
        if not (ROOT / file).exists() or f"def {test}(" not in (ROOT / file).read_text()
    ]
    assert missing == []


def test_each_point_about_overload_names_its_test() -> None:
    text = (ROOT / "docs/runbook/overload.md").read_text()
    for section in text.split("\n## ")[1:]:
        assert NAMED.search(section), section.partition("\n")[0]
