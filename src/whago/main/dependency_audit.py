"""Known vulnerabilities in what we install: pip-audit for Python, npm audit for the bridge.

Both ask an advisory service over the network. Where none answers (a mirror serves packages alone, or there is no
network) nothing is known: that is said, and is no failure. A known vulnerability is one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from whago.main.leash import StartError
from whago.main.node import BRIDGE_DIR, node_environment, npm_command

PATIENCE_S: Final = 15.0  # for both, side by side: a whole test run must not hang on somebody's service
REQUEST_S: Final = 5  # for one package's advisories
NAMED_MAX: Final = 20  # of what was found

ACCEPTED: Final[Mapping[str, str]] = {}
"""Advisories that do not concern us, by id, with the reason. Each is looked at again when its package moves."""


class Verdict(Enum):
    """``UNKNOWN``: nobody could be asked."""

    CLEAN = "clean"
    FOUND = "found"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Audit:
    """``lines``: what to tell a reader."""

    verdict: Verdict
    lines: Sequence[str]


def audit_dependencies() -> bool:
    """Prints what is known; False when something is vulnerable."""
    with ThreadPoolExecutor(2) as threads:
        audits = dict(zip(("Python", "bridge"), threads.map(lambda audit: audit(), (_python, _bridge)), strict=True))
    for name, audit in audits.items():
        for line in audit.lines:
            print(f"{name}: {line}", flush=True)
    return all(audit.verdict is not Verdict.FOUND for audit in audits.values())


def judge_pip(told: str) -> Audit:
    """``told``: what ``pip-audit -f json`` wrote. A package that the service does not know counts as not audited."""
    answer = _object(told)
    packages = answer.get("dependencies", []) if answer is not None else []
    audited = [one for one in packages if "vulns" in one]
    if not audited:
        return _unknown("the advisory service knows none of the packages, or does not answer")
    found = [
        f"{one['name']} {one.get('version', '')}: {vulnerability['id']}, {_fixed(vulnerability.get('fix_versions'))}"
        for one in audited
        for vulnerability in one["vulns"]
        if not {vulnerability["id"], *vulnerability.get("aliases", ())} & set(ACCEPTED)
    ]
    return _told(found, f"no known vulnerability in {len(audited)} of {len(packages)} packages")


def judge_npm(told: str) -> Audit:
    """``told``: what ``npm audit --json`` wrote, also when it ended with an error."""
    answer = _object(told)
    if answer is None or "metadata" not in answer or not isinstance(answer.get("vulnerabilities"), dict):
        return _unknown("the registry serves no advisories, or does not answer")
    found = [
        f"{name} {one.get('range', '')}: {one.get('severity', 'severity unknown')}, {', '.join(_advisories(one))}"
        for name, one in sorted(answer["vulnerabilities"].items())
        if not set(_advisories(one)) <= set(ACCEPTED)
    ]
    return _told(found, "no known vulnerability")


def _python() -> Audit:
    words = ["-s", "pypi", "-f", "json", "--progress-spinner", "off", "--timeout", str(REQUEST_S), "--skip-editable"]
    told = _output([sys.executable, "-P", "-m", "pip_audit", *words])
    return judge_pip(told) if told is not None else _unknown(f"no answer within {PATIENCE_S:.0f} s")


def _bridge() -> Audit:
    try:
        command = [*npm_command(), "audit", "--json", "--fetch-retries=0"]
    except StartError as error:
        return _unknown(str(error))
    told = _output(command, cwd=BRIDGE_DIR, env=node_environment())
    return judge_npm(told) if told is not None else _unknown(f"no answer within {PATIENCE_S:.0f} s")


def _output(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str | None:
    """Both programs end with an error when they find something, and tell it on stdout; None past the time."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.decode(errors="replace")


def _object(told: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(told)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _told(found: Sequence[str], clean: str) -> Audit:
    if not found:
        return Audit(Verdict.CLEAN, [clean])
    more = [f"… and {len(found) - NAMED_MAX} more"] if len(found) > NAMED_MAX else []
    return Audit(Verdict.FOUND, [*(f"VULNERABLE {line}" for line in found[:NAMED_MAX]), *more])


def _unknown(reason: str) -> Audit:
    return Audit(Verdict.UNKNOWN, [f"NOT AUDITED: {reason}."])


def _fixed(versions: Sequence[str] | None) -> str:
    return f"fixed in {', '.join(versions)}" if versions else "no version fixes it yet"


def _advisories(one: Mapping[str, Any]) -> list[str]:
    """Addresses of the advisories, or the names of the packages through which it is vulnerable."""
    return [str(via.get("url", via.get("source", ""))) if isinstance(via, dict) else str(via) for via in one["via"]]
