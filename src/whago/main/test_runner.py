"""``whago test``: every check and every test of the product. All run, so that one sees everything; pytest is last."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from whago.main import apt
from whago.main.chromium import VARIABLE, ChromiumMissing, obtain_chromium
from whago.main.debian_servers import ServersMissing, obtain_servers
from whago.main.file_checkers import COMPOSE, PROMTOOL, CheckerMissing, obtain_checker
from whago.main.leash import StartError
from whago.main.node import BRIDGE_DIR, install_modules, node_environment, npm_command

ROOT: Final = Path(__file__).resolve().parents[3]
FAST: Final = "--fast"
CI: Final = "CI"  # set by every CI: there nothing may be left out
FAST_SELECTION: Final = ("-m", "not browser and not slow", "--ignore=tests/faults", "--ignore=tests/e2e")
IMAGE_BUILDERS: Final = ("buildah", "debootstrap")  # Debian's packages and programs: images without a Docker engine
PLUGIN_NOT_HERE: Final = "-P"  # the checkout's folder is no place to import modules from


@dataclass(frozen=True, slots=True)
class Step:
    """A check: ``run`` returns whether it passed, after printing what is wrong."""

    name: str
    run: Callable[[], bool]


def run_tests(arguments: Sequence[str]) -> int:
    """0 when everything passed, else 1. ``--fast`` is ours; the other arguments are pytest's."""
    fast = FAST in arguments
    for_pytest = [word for word in arguments if word != FAST]
    failed = [step.name for step in _steps(fast) if not _passes(step)]
    if failed:
        print(f"\nFAILED before the tests: {', '.join(failed)}", flush=True)
    code = _pytest([*(FAST_SELECTION if fast else ()), *for_pytest])
    return 1 if failed or code else 0


def _steps(fast: bool) -> list[Step]:
    steps = [
        Step("ruff check", lambda: _run(_module("ruff", "check", "."))),
        Step("ruff format", lambda: _run(_module("ruff", "format", "--check", "."))),
        Step("mypy", lambda: _run(_module("mypy", "--strict", "src"))),
        Step("import contracts", lambda: _run([str(Path(sys.executable).parent / "lint-imports")])),
        Step("bridge modules", _bridge_modules),
        Step("bridge check", lambda: _npm("run", "check")),
        Step("bridge tests", lambda: _npm("test")),
    ]
    if fast:
        return steps
    servers, browser = Step("Debian's servers", _debian_servers), Step("Chromium", _chromium)
    files, images = Step("checkers of files", _file_checkers), Step("image builders", _image_builders)
    return [*steps, servers, files, images, browser]


def _passes(step: Step) -> bool:
    print(f"\n== {step.name}", flush=True)
    began = time.monotonic()
    passed = step.run()
    print(f"== {step.name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - began:.1f} s", flush=True)
    return passed


def _pytest(arguments: Sequence[str]) -> int:
    print("\n== pytest", flush=True)
    return subprocess.run(_module("pytest", *arguments), cwd=ROOT, env=_environment(), check=False).returncode


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, PLUGIN_NOT_HERE, "-m", name, *arguments]


def _run(command: Sequence[str]) -> bool:
    return subprocess.run(command, cwd=ROOT, env=_environment(), check=False).returncode == 0


def _environment() -> dict[str, str]:
    """Ours without the product's settings: a developer's own database is never tested against."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WHAGO_")}


def _bridge_modules() -> bool:
    return _told(lambda: install_modules(dev=True), StartError)


def _npm(*arguments: str) -> bool:
    try:
        command = [*npm_command(), *arguments]
    except StartError as error:
        print(error, flush=True)
        return False
    return subprocess.run(command, cwd=BRIDGE_DIR, env=node_environment(), check=False).returncode == 0


def _chromium() -> bool:
    """The browser tests read the path from CHROMIUM_PATH."""

    def obtain() -> None:
        os.environ[VARIABLE] = str(obtain_chromium())
        print(os.environ[VARIABLE], flush=True)

    return _told(obtain, ChromiumMissing)


def _debian_servers() -> bool:
    """Where they cannot be had, the tests over them are skipped with a sentence; not so in CI."""
    return _told(obtain_servers, ServersMissing) or not os.environ.get(CI)


def _file_checkers() -> bool:
    """Where one cannot be had, its test is skipped with a sentence: a package may leave Debian's mirror any day."""
    for checker in (PROMTOOL, COMPOSE):
        _told(partial(obtain_checker, checker), CheckerMissing)
    return True


def _image_builders() -> bool:
    """Where they cannot be had, the images' tests are skipped with a sentence: only root can run them."""
    missing = [name for name in IMAGE_BUILDERS if shutil.which(name) is None]
    if missing and os.geteuid() == 0 and apt.can_install():
        _told(partial(apt.install, *missing), apt.AptFailed)
    return True


def _told(action: Callable[[], object], expected: type[Exception]) -> bool:
    try:
        action()
    except expected as error:
        print(f"\n{'!' * 78}\n{error}\n{'!' * 78}", flush=True)
        return False
    return True
