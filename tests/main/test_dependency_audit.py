"""What the dependency audit makes of the answers of pip-audit 2.10 and npm 10: found, clean, and nobody to ask."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from whago.main import dependency_audit
from whago.main.dependency_audit import Audit, Verdict, audit_dependencies, judge_npm, judge_pip

PYSEC = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": ["CVE-2026-1"], "description": "…"}
SOUND = {"name": "sound", "version": "1.0", "vulns": []}
SICK = {"name": "sick", "version": "1.0", "vulns": [PYSEC]}
SKIPPED = {"name": "own", "skip_reason": "Dependency not found on PyPI and could not be audited: own (1.0)"}
NPM_CLEAN = {"auditReportVersion": 2, "vulnerabilities": {}, "metadata": {"vulnerabilities": {"total": 0}}}
NPM_FOUND = NPM_CLEAN | {
    "vulnerabilities": {
        "ws": {
            "name": "ws", "severity": "high", "range": "<8.17.1", "isDirect": False,
            "via": [{"source": 1098392, "url": "https://github.com/advisories/GHSA-3h5v-q93c-6h6q"}],
        },
        "above": {"name": "above", "severity": "high", "range": "*", "isDirect": True, "via": ["ws"]},
    }
}  # fmt: skip
NPM_ERROR = {"message": "405 Method Not Allowed", "statusCode": 405, "error": {"summary": "", "detail": ""}}


def pip(*packages: dict[str, Any]) -> Audit:
    return judge_pip(json.dumps({"dependencies": packages, "fixes": []}))


def test_a_known_vulnerability_is_named_with_what_fixes_it() -> None:
    found = pip(SOUND, SICK)
    assert found.verdict is Verdict.FOUND
    assert found.lines == ["VULNERABLE sick 1.0: PYSEC-2026-1, fixed in 2.0"]
    found = judge_npm(json.dumps(NPM_FOUND))
    assert found.verdict is Verdict.FOUND
    assert "VULNERABLE ws <8.17.1: high, https://github.com/advisories/GHSA-3h5v-q93c-6h6q" in found.lines


def test_without_one_it_is_clean_and_says_of_how_many() -> None:
    assert pip(SOUND, SOUND, SKIPPED) == Audit(Verdict.CLEAN, ["no known vulnerability in 2 of 3 packages"])
    assert judge_npm(json.dumps(NPM_CLEAN)).verdict is Verdict.CLEAN


def test_a_service_that_knows_nothing_makes_nothing_clean() -> None:
    assert pip(SKIPPED).verdict is Verdict.UNKNOWN
    assert pip().verdict is Verdict.UNKNOWN
    assert judge_npm(json.dumps(NPM_ERROR)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("told", ["", "not JSON", "[]", "null", '"text"', "{}"])
def test_what_is_no_report_is_unknown(told: str) -> None:
    assert judge_pip(told).verdict is Verdict.UNKNOWN
    assert judge_npm(told).verdict is Verdict.UNKNOWN


def test_an_accepted_advisory_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependency_audit, "ACCEPTED", {"CVE-2026-1": "we never call it"})
    assert pip(SOUND, SICK).verdict is Verdict.CLEAN


@pytest.mark.parametrize(
    ("python", "bridge", "passes"),
    [
        (json.dumps({"dependencies": [SOUND]}), json.dumps(NPM_CLEAN), True),
        (json.dumps({"dependencies": [SICK]}), json.dumps(NPM_CLEAN), False),
        (json.dumps({"dependencies": [SOUND]}), json.dumps(NPM_FOUND), False),
        (None, json.dumps(NPM_ERROR), True),
    ],
)
def test_only_a_known_vulnerability_fails_the_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], python: str | None, bridge: str, passes: bool
) -> None:
    def answer(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        told = python if "pip_audit" in command else bridge
        if told is None:
            raise subprocess.TimeoutExpired(command, 1)
        return subprocess.CompletedProcess(command, 1, told.encode())

    monkeypatch.setattr(subprocess, "run", answer)
    assert audit_dependencies() is passes
    told = capsys.readouterr().out
    assert ("VULNERABLE" in told) is not passes
    assert ("NOT AUDITED" in told) is (python is None)
