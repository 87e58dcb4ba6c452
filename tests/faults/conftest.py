"""Fault tests run over the same stack as the end-to-end ones, and state what each fault has cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.figures import STATED, State, state_for, table
from tests.faults.stage import Stage
from tests.gateway.conftest import plain_rig, rig
from tests.spine.conftest import stack
from whago.kit.crypto import Vault

__all__ = ["plain_rig", "rig", "stack"]


@pytest.fixture
def state(request: pytest.FixtureRequest) -> State:
    """``state(fault, wire=…, billed=…, limit=…)`` puts a figure into the run's report."""
    return state_for(request)


@pytest.fixture
def stage(database: str, vault: Vault, tmp_path: Path) -> Iterator[Stage]:
    with Stage(database, vault, tmp_path) as built:
        yield built


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash.get(STATED, [])
    if figures:
        terminalreporter.section("Figures of the fault suite, in bytes")
        for line in table(figures):
            terminalreporter.write_line(line)
