"""``docs/security.md`` covers every chapter of ASVS 5.0 once, and every place that it names is there."""

from __future__ import annotations

import importlib
import re
from collections import Counter

from whago.main.test_runner import ROOT

PAGE = (ROOT / "docs/security.md").read_text()
CHAPTERS = range(1, 18)
ROW = re.compile(r"^\| ([\d.,–  ]+) \|", re.MULTILINE)
NUMBER = re.compile(r"\b\d+\.\d+(?:\.\d+)?\b")
STATES = re.compile(r"\*\*gap\*\*|\bYes\b|\byours\b|\bno need\b|OpenAPI is public on purpose")


def rows() -> list[str]:
    return [line for line in PAGE.splitlines() if ROW.match(line)]


def test_every_chapter_has_its_heading() -> None:
    found = {int(number) for number in re.findall(r"^## V(\d+) ", PAGE, re.MULTILINE)}
    assert found == set(CHAPTERS)


def test_every_requirement_is_told_once_and_under_its_chapter() -> None:
    chapter, told = 0, Counter[str]()
    for line in PAGE.splitlines():
        if heading := re.match(r"## V(\d+) ", line):
            chapter = int(heading[1])
        if ROW.match(line):
            numbers = NUMBER.findall(line.split("|")[1])
            assert numbers, line
            assert all(number.split(".")[0] == str(chapter) for number in numbers), line
            told.update(numbers)
    assert [number for number, times in told.items() if times > 1] == []


def test_every_requirement_says_how_it_stands() -> None:
    assert len(rows()) > 60
    assert [line for line in rows() if not STATES.search(line)] == []


def test_every_folder_and_module_that_is_named_exists() -> None:
    for path in re.findall(r"`((?:deploy|src|docs|bridge)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"`(whago(?:\.\w+)+)`", PAGE):
        if not module.startswith("whago.audit_maintenance"):
            importlib.import_module(module)


def test_every_gap_is_listed_at_the_end() -> None:
    listed = NUMBER.findall(PAGE.partition("\n## Gaps\n")[2])
    with_gaps = [line.split("|")[1] for line in rows() if "**gap**" in line]
    missing = [
        cell
        for cell in with_gaps
        if not any(f"{one}.".startswith(f"{number}.") for one in listed for number in NUMBER.findall(cell))
    ]
    assert with_gaps
    assert missing == []
