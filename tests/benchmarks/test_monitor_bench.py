"""The benchmark of the clocks fills an installation in which everything adds up, and tells what it measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_small_run_fills_measures_and_writes_its_results(tmp_path: Path) -> None:
    out = tmp_path / "results.md"
    options = ["--rows", "20000", "--chips", "100", "--rounds", "1", "--monitor-only", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.monitor", *options], capture_output=True, text=True, timeout=170
    )
    assert done.returncode in (0, 1), done.stderr  # 1: a target was missed, which a busy machine may do
    text = out.read_text()
    assert "| 2,000 | 100 |" in text
    assert "| 20,000 | 100 |" in text
    assert text.count("PASS:") + text.count("FAIL:") == 3
    assert done.stdout.count("done") == 4


def test_it_refuses_a_disk_that_is_too_small(tmp_path: Path) -> None:
    options = ["--rows", str(10**15), "--out", str(tmp_path / "results.md")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.monitor", *options], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "benchmarks.monitor: 1,000,000,000,000,000 rows need more disk than is free; use --rows.",
    )
    assert not (tmp_path / "results.md").exists()
